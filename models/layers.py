"""Layers that more than one family uses."""

import math

import torch
from torch import Tensor, nn

from models.registry import require

_SPARSE = 0.1  # above this rate torch's own mask is as fast


class Residual(nn.Module):
    """`x + branch(x)`, with nothing after the sum: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class Dropout(nn.Dropout):
    """torch's Dropout (Hinton et al. 2012, arXiv:1207.0580), with few random numbers at low rates on the CPU.

    There, a number an element costs small networks a third of their time. Instead the gaps between dropped elements
    are drawn, which are geometrically distributed (Devroye 1986, chapter X.2): the same mask, at the rate's share of
    the cost.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.device.type == "cpu" and 0 < self.p <= _SPARSE:
            return input * dropout_mask(input.detach(), self.p)
        return super().forward(input)


@torch.library.custom_op("models::dropout_mask", mutates_args=())
def dropout_mask(like: Tensor, p: float) -> Tensor:
    """0 with probability p, else 1 / (1 - p), independently for every element; shape, type and layout of `like`."""
    mask = torch.full_like(like, 1 / (1 - p))
    mask.as_strided((mask.numel(),), (1,)).index_fill_(0, _successes(mask.numel(), p), 0)
    return mask


@dropout_mask.register_fake
def _(like: Tensor, p: float) -> Tensor:
    return torch.empty_like(like)


def _successes(trials: int, p: float) -> Tensor:
    """Which of so many independent trials succeed, each with probability p: (successes,) int64, ascending."""
    enough = int(trials * p + 8 * math.sqrt(trials * p) + 16)  # eight standard deviations: too few once in 1e15 calls
    at = torch.empty(enough, dtype=torch.int64).geometric_(p).cumsum(0) - 1
    return at[at < trials]


def conv3x3(in_channels: int, out_channels: int, padding: int = 1) -> nn.Conv2d:
    """3x3, stride 1, without a bias: (B, in, H, W) → (B, out, H, W), or H - 2 and W - 2 without padding."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=padding, bias=False)


def dropouts(rate: float) -> list[nn.Module]:
    """One Dropout, or none where the rate is 0: a network without dropout has no layer that says so.

    Raises:
        ModelError: the rate is not in [0, 1).
    """
    require(0 <= rate < 1, "dropout", "be 0 or more and below 1", rate)
    return [Dropout(rate)] if rate else []
