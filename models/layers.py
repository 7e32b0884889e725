"""Layers used by more than one family of networks."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.registry import require

_SPARSE = 0.1  # at higher rates torch's mask is as fast


class Residual(nn.Module):
    """`x + branch(x)`, without an activation after the sum: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class Dropout(nn.Dropout):
    """torch's Dropout (Hinton et al. 2012, arXiv:1207.0580), with a faster method at low rates on the CPU.

    One random number per element takes a third of a small network's time. Instead, the gaps between dropped elements
    are drawn, which are geometrically distributed (Devroye 1986, chapter X.2), and only the dropped elements' indices
    are saved for the backward pass: the same distribution at a cost proportional to the rate.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.device.type == "cpu" and 0 < self.p <= _SPARSE:
            return drop(input, dropped(input.detach(), self.p), 1 / (1 - self.p))
        return super().forward(input)


@torch.library.custom_op("models::dropped", mutates_args=())
def dropped(like: Tensor, p: float) -> Tensor:
    """Indices of elements of `like`, each chosen independently with probability p: shape (n,), int64, ascending.

    n is the same for every call; indices at the end that are beyond the last element are to be ignored.
    """
    enough = _enough(like.numel(), p)
    return torch.empty(enough, dtype=torch.int64).geometric_(p).cumsum(0) - 1


def _enough(trials: int, p: float) -> int:
    """An upper bound for the number of successes: mean plus eight standard deviations, exceeded once in 1e15 calls."""
    return int(trials * p + 8 * math.sqrt(trials * p) + 16)


@dropped.register_fake
def _(like: Tensor, p: float) -> Tensor:
    return torch.empty(_enough(like.numel(), p), dtype=torch.int64)


@dropped.register_vmap
def _(info: object, in_dims: tuple[int | None, None], like: Tensor, p: float) -> tuple[Tensor, None]:
    """vmap rule: stacked networks draw from one random stream, with separate numbers for each network's elements."""
    return dropped(like, p), None


@torch.library.custom_op("models::drop", mutates_args=())
def drop(input: Tensor, dropped: Tensor, factor: float) -> Tensor:
    """`input` times `factor`, with 0 at the indices `dropped` (in memory order); the memory layout is kept."""
    out = input * factor
    elements = dropped[: int(torch.searchsorted(dropped, out.numel()))]
    out.as_strided((out.numel(),), (1,)).index_fill_(0, elements, 0)
    return out


@drop.register_fake
def _(input: Tensor, dropped: Tensor, factor: float) -> Tensor:
    return input * factor


@drop.register_vmap
def _(
    info: object, in_dims: tuple[int | None, None, None], input: Tensor, dropped: Tensor, factor: float
) -> tuple[Tensor, int | None]:
    return drop(input, dropped, factor), in_dims[0]


def _keep_for_backward(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])
    ctx.factor, ctx.strides = inputs[2], output.stride()


def _drop_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    if gradient.stride() != ctx.strides:
        gradient = gradient.new_empty_strided(gradient.shape, ctx.strides).copy_(gradient)
    return drop(gradient, *ctx.saved_tensors, ctx.factor), None, None


drop.register_autograd(_drop_backward, setup_context=_keep_for_backward)


class Whitening(nn.Conv2d):
    """A fixed 3x3 convolution that whitens image patches: its outputs are uncorrelated and have unit variance (Coates &
    Ng 2012; as a network's first layer: Page 2019, "How to train your ResNet", part 8).

    (B, in_channels, H, W) → (B, 9 * in_channels, H, W). `fit` sets the weights, which are never trained.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, 9 * in_channels, 3, padding=1, bias=False)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def fit(self, images: Tensor, floor: float = 1e-2) -> None:
        """Compute the weights from images.

        Args:
            images: normalised images, shape (N, in_channels, H, W).
            floor: added to every variance, so that directions with little variance are not amplified too much.
        """
        patches = nn.functional.unfold(images.cpu().double(), 3).transpose(1, 2).flatten(0, 1)
        variances, directions = torch.linalg.eigh(patches.T.cov())
        whiten = directions.T / (variances + floor).sqrt().unsqueeze(1)
        self.weight.copy_(whiten.flip(0).reshape(self.weight.shape))  # the most common pattern first


class Scale(nn.Module):
    """Multiplies by a constant; keeps the shape."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return str(self.factor)


def fit_to(model: nn.Module, images: Callable[[], Tensor]) -> None:
    """Set the weights that are computed from images instead of being trained.

    Args:
        images: returns normalised images, shape (N, C, H, W); called only if the network has such weights.
    """
    for layer in model.modules():
        if isinstance(layer, Whitening):
            layer.fit(images())


def conv3x3(in_channels: int, out_channels: int, padding: int = 1) -> nn.Conv2d:
    """3x3 convolution, stride 1, without bias: (B, in, H, W) → (B, out, H, W), or H - 2 and W - 2 without padding."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=padding, bias=False)


def dropouts(rate: float) -> list[nn.Module]:
    """A list with one Dropout, or an empty list if the rate is 0.

    Raises:
        ModelError: the rate is not in [0, 1).
    """
    require(0 <= rate < 1, "dropout", "be 0 or more and below 1", rate)
    return [Dropout(rate)] if rate else []
