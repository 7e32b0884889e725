"""The exponential moving average of a network's weights, which is evaluated and saved in its place if requested."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """A copy of a network with averaged weights and norm statistics (Polyak & Juditsky 1992).

    The first step copies the network, as in torch's AveragedModel with get_ema_multi_avg_fn and use_buffers. That class
    is not used because it transfers its step count to the device in every step, which forces a synchronisation.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.module, self.decay = copy.deepcopy(model).requires_grad_(False), decay

    def follow(self, model: nn.Module, step: int) -> None:
        """Update the average after optimiser step number `step`, counted from 0."""
        follow(tensors(self.module), tensors(model), self.decay, step)


def tensors(module: nn.Module) -> list[Tensor]:
    """The parameters of a module, followed by its buffers."""
    return [*module.parameters(), *module.buffers()]


@torch.no_grad()
def follow(averages: Sequence[Tensor], values: Sequence[Tensor], decay: float, step: int) -> None:
    """Update averages: step 0 copies the values, later steps compute decay * average + (1 - decay) * value.

    Integer tensors, such as counters of batch norm, keep their value of step 0.
    """
    if step == 0:
        for average, value in zip(averages, values, strict=True):
            average.copy_(value)
        return
    floating = [(average, value) for average, value in zip(averages, values, strict=True) if value.is_floating_point()]
    own, new = zip(*floating, strict=True)
    get_ema_multi_avg_fn(decay)(own, new, step)
