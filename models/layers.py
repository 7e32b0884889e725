"""Layers that more than one family uses."""

import torch
from torch import nn

from models.registry import require


class Residual(nn.Module):
    """`x + branch(x)`, with nothing after the sum: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


def conv3x3(in_channels: int, out_channels: int, padding: int = 1) -> nn.Conv2d:
    """3x3, stride 1, without a bias: (B, in, H, W) → (B, out, H, W), or H - 2 and W - 2 without padding."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=padding, bias=False)


def dropouts(rate: float) -> list[nn.Module]:
    """One Dropout, or none where the rate is 0: a network without dropout has no layer that says so.

    Raises:
        ModelError: the rate is not in [0, 1).
    """
    require(0 <= rate < 1, "dropout", "be 0 or more and below 1", rate)
    return [nn.Dropout(rate)] if rate else []
