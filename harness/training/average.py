"""The moving average of a network that is evaluated and kept in its place, where a recipe asks for one."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """A copy of a network that follows its weights and its norms' statistics (Polyak & Juditsky 1992).

    As torch's AveragedModel with get_ema_multi_avg_fn and use_buffers, the first step sets it to them; but torch's own
    counts its steps on the CPU and sends the number to the device in every one, which waits for it.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.module, self.decay = copy.deepcopy(model).requires_grad_(False), decay

    def follow(self, model: nn.Module, step: int) -> None:
        """After optimiser step number `step`, counted from 0."""
        follow(tensors(self.module), tensors(model), self.decay, step)


def tensors(module: nn.Module) -> list[Tensor]:
    """Parameters, then buffers."""
    return [*module.parameters(), *module.buffers()]


@torch.no_grad()
def follow(averages: Sequence[Tensor], values: Sequence[Tensor], decay: float, step: int) -> None:
    """Step 0 sets each average to its value; later it keeps `decay` of itself. Whole numbers, which no network computes
    with, stay as step 0 left them."""
    if step == 0:
        for average, value in zip(averages, values, strict=True):
            average.copy_(value)
        return
    floating = [(average, value) for average, value in zip(averages, values, strict=True) if value.is_floating_point()]
    own, new = zip(*floating, strict=True)
    get_ema_multi_avg_fn(decay)(own, new, step)
