"""Stacked seeds: runs that differ in their seeds alone take each optimiser step at once.

A small network leaves a GPU idle between kernels. Here the parameters, buffers and optimiser states of M runs are
stacked, (M, ...), and `torch.func.vmap` takes the step over the stacks. Each run's own `State` looks into them, so it
is evaluated, saved and resumed as if it trained alone. It equals its solo run but for rounding; with dropout, whose
numbers come from one stream for all, only in distribution.
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
    """The learner of M states at the same step of the same recipe. Their tensors become views of the stacks."""

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
            state.optimizer.step()  # nothing has a gradient, so nothing happens; a schedule asks whether it was called

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One optimiser step of every run on images (M, B, C, H, W) and labels (M, B)."""
        count = labels.shape[1]
        parameters = {n: p.bfloat16() if n in self._halved else p for n, p in self._parameters.items()}
        with self._autocast:
            logits = vmap(self._forward, randomness="different")(parameters, self._buffers, images).float()
        each = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), label_smoothing=self.recipe.label_smoothing, reduction="none"
        )
        losses = each.unflatten(0, labels.shape).mean(1)
        losses.sum().backward()  # no run's loss depends on another's parameters
        if self.recipe.clip_norm is not None:
            self._clip(self.recipe.clip_norm)
        self._update()
        with torch.no_grad():
            self._sums += torch.stack([losses * count, (logits.argmax(2) == labels).sum(1)], dim=1)
            bad_now = torch.where(losses.isfinite(), torch.inf, float(self.states[0].step))
            self._first_bad.copy_(torch.minimum(self._first_bad, bad_now))

    def first_bad_steps(self) -> dict[int, int]:
        """Run → its first step whose loss was not finite, for those that have one; waits for the device."""
        return {number: int(step) for number, step in enumerate(self._first_bad.tolist()) if step != float("inf")}

    def _forward(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
        return functional_call(self._skeleton, (parameters, buffers), (images,))

    def _update(self) -> None:
        """The optimiser's step at the rates that the first run's schedule gives, which all runs share."""
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
        """As `clip_grad_norm_`, run by run."""
        gradients = [parameter.grad for parameter in self._trained if parameter.grad is not None]
        norms = torch.stack([gradient.reshape(len(gradient), -1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        scales = (largest / (norms + 1e-6)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(scales.view(-1, *[1] * (gradient.dim() - 1)))

    def _own(self) -> Iterator[tuple[nn.Parameter, list[nn.Parameter]]]:
        """Each trained stack, and the runs' parameters in it."""
        of_runs = (state.optimizer.param_groups[0]["params"] for state in self.states)
        for stack, *own in zip(self._trained, *of_runs, strict=True):
            yield stack, own

    def _adopt_optimizer_states(self) -> None:
        """What loaded optimisers remember, stacked."""
        for stack, own in self._own():
            kept = [state.optimizer.state[parameter] for state, parameter in zip(self.states, own, strict=True)]
            for name, value in kept[0].items():
                alike = name != "step" and value.shape == own[0].shape  # a parameter may be a single number too
                self._optimizer.state[stack][name] = _stacked([entry[name] for entry in kept]) if alike else value
        self._share_optimizer_state()

    def _share_optimizer_state(self) -> None:
        """Each run's optimiser looks into the stacks; what is no stack, such as Adam's count of steps, is shared."""
        for stack, own in self._own():
            for name, value in self._optimizer.state.get(stack, {}).items():
                for number, (state, parameter) in enumerate(zip(self.states, own, strict=True)):
                    state.optimizer.state[parameter][name] = value[number] if value.shape == stack.shape else value


_HALVED = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
_WHOLE = nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm


def _cast_layers(model: nn.Module) -> set[str]:
    """Have convolutions and linear layers take bf16 and norms fp32; returns whose parameters are to be bf16.

    Autocast does not see a convolution under vmap on a CPU, and on CUDA vmap's batch norm mixes bf16 images with fp32
    statistics, which its backward pass refuses (pytorch#192617).
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
    """(M, ...), of which each tensor becomes a view."""
    stack = torch.stack([tensor.detach() for tensor in tensors])
    for tensor, view in zip(tensors, stack, strict=True):
        tensor.data = view
    return stack
