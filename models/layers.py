"""Layers that more than one family uses."""

import math
from collections.abc import Callable
from typing import Any

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
    """torch's Dropout (Hinton et al. 2012, arXiv:1207.0580); at low rates on the CPU with few random numbers, no mask.

    There, a number an element costs small networks a third of their time. Instead the gaps between dropped elements
    are drawn, which are geometrically distributed (Devroye 1986, chapter X.2), and those elements alone are kept for
    the backward pass: the same distribution, at the rate's share of the cost.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.device.type == "cpu" and 0 < self.p <= _SPARSE:
            return drop(input, dropped(input.detach(), self.p), 1 / (1 - self.p))
        return super().forward(input)


@torch.library.custom_op("models::dropped", mutates_args=())
def dropped(like: Tensor, p: float) -> Tensor:
    """Elements of `like`, each with probability p, independently: numbers, (n,) int64, ascending, n the same for every
    call; those that are no element's, at the end, mean nothing."""
    enough = _enough(like.numel(), p)
    return torch.empty(enough, dtype=torch.int64).geometric_(p).cumsum(0) - 1


def _enough(trials: int, p: float) -> int:
    """More than the successes among so many trials by eight standard deviations: too few once in 1e15 calls."""
    return int(trials * p + 8 * math.sqrt(trials * p) + 16)


@dropped.register_fake
def _(like: Tensor, p: float) -> Tensor:
    return torch.empty(_enough(like.numel(), p), dtype=torch.int64)


@dropped.register_vmap
def _(info: object, in_dims: tuple[int | None, None], like: Tensor, p: float) -> tuple[Tensor, None]:
    """Networks that train as one draw from one stream: each element of each has its own number."""
    return dropped(like, p), None


@torch.library.custom_op("models::drop", mutates_args=())
def drop(input: Tensor, dropped: Tensor, factor: float) -> Tensor:
    """`input` times `factor`, with 0 at the elements `dropped`, numbered as they lie in memory; of the same layout."""
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
    """A fixed 3x3 convolution after which neighbouring pixels of real images are uncorrelated and of unit variance
    (Coates & Ng 2012; as a network's first layer: Page 2019, "How to train your ResNet", part 8).

    (B, in_channels, H, W) → (B, 9 * in_channels, H, W). `fit` sets its weights, which are never trained.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, 9 * in_channels, 3, padding=1, bias=False)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def fit(self, images: Tensor, floor: float = 1e-2) -> None:
        """From images (N, in_channels, H, W) as the network is given them; `floor` is added to every variance, so that
        directions in which images hardly differ are not blown up."""
        patches = nn.functional.unfold(images.cpu().double(), 3).transpose(1, 2).flatten(0, 1)
        variances, directions = torch.linalg.eigh(patches.T.cov())
        whiten = directions.T / (variances + floor).sqrt().unsqueeze(1)
        self.weight.copy_(whiten.flip(0).reshape(self.weight.shape))  # the most common pattern first


class Scale(nn.Module):
    """Multiplies by a constant: any shape → the same."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return str(self.factor)


def fit_to(model: nn.Module, images: Callable[[], Tensor]) -> None:
    """Set the weights that follow from images instead of from training.

    Args:
        images: gives images (N, C, H, W) as the network is given them; not asked where there are no such weights.
    """
    for layer in model.modules():
        if isinstance(layer, Whitening):
            layer.fit(images())


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
