"""Stacked seeds: runs that differ only in their seed take each optimiser step together.

A small network leaves a GPU idle between kernels. Here the parameters, buffers and optimiser states of M runs are
stacked, shape (M, ...), and `torch.func.vmap` takes a step for all of them. Each run's `State` holds views of the
stacks, so it is evaluated, saved and resumed like a single run. Results equal those of single runs except for rounding;
with dropout, whose random numbers come from one stream for all runs, only in distribution.
"""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from harness.plans.spec import Recipe
from harness.training.average import follow, tensors
from harness.training.loop import State
from harness.training.optimizers import build_optimizer


class Stack:
    """The learner of M states of one recipe at the same step. Their tensors become views of the stacks."""

    def __init__(self, states: Sequence[State], recipe: Recipe, autocast: torch.autocast):
        self.states, self.recipe, self._autocast = states, recipe, autocast
        models = [state.model for state in states]
        self._skeleton = copy.deepcopy(models[0]).to("meta").train()
        self._halved = _cast_layers(self._skeleton) if recipe.precision == "bf16" else set()
        self._parameters: dict[str, Tensor] = {
            name: nn.Parameter(_stacked([model.get_parameter(name) for model in models]), first.requires_grad)
            for name, first in models[0].named_parameters()
        }
        self._buffers = {
            name: _stacked([model.get_buffer(name) for model in models]) for name, _ in models[0].named_buffers()
        }
        self._trained = [p for p in self._parameters.values() if isinstance(p, nn.Parameter) and p.requires_grad]
        averages = [tensors(state.averaged.module) for state in states if state.averaged]
        self._averages = [_stacked(of_runs) for of_runs in zip(*averages, strict=True)]
        self._optimizer = build_optimizer(nn.ParameterList(self._trained), recipe, lr=1.0)
        self._adopt_optimizer_states()
        sums, bad = torch.stack([state.sums for state in states]), torch.stack([state.first_bad for state in states])
        self._sums, self._first_bad = sums, bad
        for number, state in enumerate(states):
            state.sums, state.first_bad = sums[number], bad[number]
            state.optimizer.step()  # without gradients this does nothing, but schedules check that it was called

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Take one optimiser step for every run on images (M, B, C, H, W) and labels (M, B)."""
        count = labels.shape[1]
        parameters = {n: p.bfloat16() if n in self._halved else p for n, p in self._parameters.items()}
        with self._autocast:
            logits = vmap(self._forward, randomness="different")(parameters, self._buffers, images).float()
        each = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), label_smoothing=self.recipe.label_smoothing, reduction="none"
        )
        losses = each.unflatten(0, labels.shape).mean(1)
        losses.sum().backward()  # each run's loss depends only on its own parameters
        if self.recipe.clip_norm is not None:
            self._clip(self.recipe.clip_norm)
        self._update()
        with torch.no_grad():
            self._sums += torch.stack([losses * count, (logits.argmax(2) == labels).sum(1)], dim=1)
            bad_now = torch.where(losses.isfinite(), torch.inf, float(self.states[0].step))
            self._first_bad.copy_(torch.minimum(self._first_bad, bad_now))

    def first_bad_steps(self) -> dict[int, int]:
        """Run → its first step with a loss that was not finite, for runs that have one; waits for the device."""
        return {number: int(step) for number, step in enumerate(self._first_bad.tolist()) if step != float("inf")}

    def _forward(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
        return functional_call(self._skeleton, (parameters, buffers), (images,))

    def _update(self) -> None:
        """Take an optimiser step with the first run's learning rate, which is the same for all runs."""
        group = self.states[0].optimizer.param_groups[0]
        self._optimizer.param_groups[0].update({name: value for name, value in group.items() if name != "params"})
        fresh = not self._optimizer.state
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if fresh:
            self._share_optimizer_state()
        if self._averages:
            decay, followed = self.recipe.ema_decay, [*self._parameters.values(), *self._buffers.values()]
            follow(self._averages, followed, decay or 0.0, self.states[0].step)
        rate = float(group["lr"])
        for state in self.states:
            state.lrs.append(rate)
            state.scheduler.step()
            state.step += 1

    def _clip(self, largest: float) -> None:
        """Clip the gradient norm of each run, like `clip_grad_norm_`."""
        gradients = [parameter.grad for parameter in self._trained if parameter.grad is not None]
        norms = torch.stack([gradient.reshape(len(gradient), -1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        scales = (largest / (norms + 1e-6)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(scales.view(-1, *[1] * (gradient.dim() - 1)))

    def _own(self) -> Iterator[tuple[nn.Parameter, list[nn.Parameter]]]:
        """Each stack of trainable parameters with the runs' own parameters."""
        of_runs = (state.optimizer.param_groups[0]["params"] for state in self.states)
        for stack, *own in zip(self._trained, *of_runs, strict=True):
            yield stack, own

    def _adopt_optimizer_states(self) -> None:
        """Stack the states of loaded optimisers."""
        for stack, own in self._own():
            kept = [state.optimizer.state[parameter] for state, parameter in zip(self.states, own, strict=True)]
            for name, value in kept[0].items():
                alike = name != "step" and value.shape == own[0].shape  # a parameter may be a scalar too
                self._optimizer.state[stack][name] = _stacked([entry[name] for entry in kept]) if alike else value
        self._share_optimizer_state()

    def _share_optimizer_state(self) -> None:
        """Give each run's optimiser views of the stacks; other state, such as Adam's step count, is shared."""
        for stack, own in self._own():
            for name, value in self._optimizer.state.get(stack, {}).items():
                for number, (state, parameter) in enumerate(zip(self.states, own, strict=True)):
                    state.optimizer.state[parameter][name] = value[number] if value.shape == stack.shape else value


_HALVED = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
_WHOLE = nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm


def _cast_layers(model: nn.Module) -> set[str]:
    """Make convolutions and linear layers cast their input to bf16, and norms to fp32.

    Autocast does not apply to convolutions under vmap on a CPU; on CUDA, batch norm under vmap mixes bf16 images with
    fp32 statistics, which its backward pass does not support (pytorch#192617).

    Returns:
        The names of modules whose parameters are to be cast to bf16.
    """
    halved: set[str] = set()
    for name, layer in model.named_modules():
        if isinstance(layer, _HALVED):
            layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].bfloat16(),))
            halved |= {f"{name}.{own}".lstrip(".") for own, _ in layer.named_parameters(recurse=False)}
        elif isinstance(layer, _WHOLE):
            layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    return halved


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Stack tensors to shape (M, ...) and make each of them a view of the stack."""
    stack = torch.stack([tensor.detach() for tensor in tensors])
    for tensor, view in zip(tensors, stack, strict=True):
        tensor.data = view
    return stack
