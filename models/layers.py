"""Layers that more than one family uses."""

import math
from collections.abc import Callable

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


@dropout_mask.register_vmap
def _(info: object, in_dims: tuple[int | None, None], like: Tensor, p: float) -> tuple[Tensor, int | None]:
    """Networks that train as one draw from one stream: each element of each has its own number."""
    return dropout_mask(like, p), in_dims[0]


def _successes(trials: int, p: float) -> Tensor:
    """Which of so many independent trials succeed, each with probability p: (successes,) int64, ascending."""
    enough = int(trials * p + 8 * math.sqrt(trials * p) + 16)  # eight standard deviations: too few once in 1e15 calls
    at = torch.empty(enough, dtype=torch.int64).geometric_(p).cumsum(0) - 1
    return at[at < trials]


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
        patches = nn.functional.unfold(images.double(), 3).transpose(1, 2).flatten(0, 1)
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
