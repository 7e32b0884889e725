"""Some transforms of albumentations 2.0.8 as tensor code for whole batches, equal to the library pixel by pixel.

A form samples per-sample parameters (`draw`, in integer arithmetic, which is the same on every device), then applies
them (`apply`). Shapes are static and nothing synchronises with the device, so forms can be compiled or captured in a
CUDA graph. `harness.augmentation.batched` decides which transforms and arguments a form can replace.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

_FRACTION_BITS = 16  # of hole lengths as fixed-point numbers


def _below(draw: Tensor, n: Tensor | int) -> Tensor:
    """Integers in 0..n-1 for n < 2**31: floor(n * u), as in the library; the bias is below n / 2**32."""
    return (draw * n) >> 32


def _happens(draw: Tensor, p: float) -> Tensor:
    return draw < round(p * (1 << 32))


class Form(Protocol):
    """One transform for a batch: `draw` samples parameters for each image, `apply` applies them."""

    @property
    def count(self) -> int:
        """Number of random numbers needed per sample."""
        ...

    def draw(self, drawn: Tensor) -> Any:
        """Random numbers (B, count) from `draws` → parameters, a tuple of tensors (B, ...)."""
        ...

    def apply(self, images: Tensor, parameters: Any) -> Tensor:
        """Images (B, H, W, C), uint8 → (B, H', W', C), uint8."""
        ...


class Corner(NamedTuple):
    """The top left pixel of each crop, shape (B,), int64."""

    top: Tensor
    left: Tensor


@dataclass(frozen=True)
class Crop:
    """RandomCrop and CenterCrop; `down` and `right` are the distances that the crop can move."""

    height: int
    width: int
    down: int
    right: int
    random: bool

    @property
    def count(self) -> int:
        return 2 if self.random else 0

    def draw(self, drawn: Tensor) -> Corner:
        if self.random:
            return Corner(_below(drawn[:, 0], self.down + 1), _below(drawn[:, 1], self.right + 1))
        return Corner(*(drawn.new_full(drawn.shape[:1], room // 2) for room in (self.down, self.right)))

    def apply(self, images: Tensor, parameters: Corner) -> Tensor:
        batch, height, width, channels = images.shape
        rows = parameters.top[:, None] + torch.arange(self.height, device=images.device)
        first = torch.arange(batch, device=images.device)[:, None] * height
        start = (first + rows) * width + parameters.left[:, None]
        # Windows of the crop's width starting at every pixel: selecting them is ten times faster than single pixels.
        from_each = batch * height * width - self.width + 1, self.width * channels
        lines = images.contiguous().as_strided(from_each, (channels, 1))
        return lines.index_select(0, start.view(-1)).view(batch, self.height, self.width, channels)


class Chosen(NamedTuple):
    """The images to which a transform is applied, shape (B,), bool."""

    applied: Tensor


@dataclass(frozen=True)
class Flip:
    """HorizontalFlip and VerticalFlip."""

    horizontal: bool
    p: float
    count = 1

    def draw(self, drawn: Tensor) -> Chosen:
        return Chosen(_happens(drawn[:, 0], self.p))

    def apply(self, images: Tensor, parameters: Chosen) -> Tensor:
        applied = parameters.applied[:, None].to(torch.uint8) * 255
        flipped = images.flip(2 if self.horizontal else 1)
        return _choose(applied, flipped.flatten(1), images.flatten(1)).view(images.shape)


@dataclass(frozen=True, eq=False)
class Pad:
    """Pad and PadIfNeeded: the same border around every image."""

    top: int
    bottom: int
    left: int
    right: int
    border: int
    """OpenCV's border type: 0 constant, 1 replicate, 2 reflect, 3 wrap, 4 reflect without the edge."""
    fill: Tensor
    """Value of a constant border, shape (C,), uint8."""
    count = 0

    def draw(self, drawn: Tensor) -> tuple[()]:
        return ()

    def apply(self, images: Tensor, parameters: tuple[()]) -> Tensor:
        batch, height, width, channels = images.shape
        if self.border == 0:
            size = (batch, self.top + height + self.bottom, self.left + width + self.right, channels)
            line = self.fill.repeat(size[2])  # whole lines, because single pixels take 4 times as long
            padded = line.expand(size[0], size[1], -1).contiguous().view(size)
            padded[:, self.top : self.top + height, self.left : self.left + width] = images
            return padded
        rows = torch.arange(-self.top, height + self.bottom, device=images.device)
        columns = torch.arange(-self.left, width + self.right, device=images.device)
        rows, columns = _bounded(rows, height, self.border), _bounded(columns, width, self.border)
        return images.index_select(1, rows).index_select(2, columns)


def _bounded(n: Tensor, size: int, border: int) -> Tensor:
    """OpenCV's borderInterpolate: the index of the pixel (of `size`) that is used at position n outside the image."""
    if border == 1:
        return n.clamp(0, size - 1)
    if border == 3:
        return n % size
    again = 1 if border == 2 else 0  # this reflection repeats the edge
    period = max(2 * (size - 1 + again), 1)
    return torch.minimum(n % period, period - again - n % period)


class Holes(NamedTuple):
    """Rectangles to fill, shape (B, K), int64 each: rows top..bottom-1, columns left..right-1; may be empty."""

    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor


class Lengths(NamedTuple):
    """Random lengths in whole pixels, floor(start + span * u), with start and span in units of 2**-_FRACTION_BITS."""

    start: int
    span: int

    @classmethod
    def between(cls, start: float, stop: float) -> "Lengths":
        return cls(int(start * (1 << _FRACTION_BITS)), int((stop - start) * (1 << _FRACTION_BITS)))

    def draw(self, drawn: Tensor) -> Tensor:
        return (self.start + _below(drawn, self.span)) >> _FRACTION_BITS


@dataclass(frozen=True, eq=False)
class Cutout:
    """CoarseDropout with a constant fill, shape (C,), uint8."""

    size: tuple[int, int]
    holes: tuple[int, int]
    heights: Lengths
    widths: Lengths
    fill: Tensor
    p: float

    @property
    def count(self) -> int:
        return 2 + 4 * self.holes[1]

    def draw(self, drawn: Tensor) -> Holes:
        fewest, most = self.holes
        number = fewest + _below(drawn[:, 1:2], most - fewest + 1)
        present = (torch.arange(most, device=drawn.device) < number) & _happens(drawn[:, :1], self.p)
        tall, wide, down, right = drawn[:, 2:].split(most, 1)
        height, width = self.heights.draw(tall), self.widths.draw(wide)
        top, left = _below(down, self.size[0] - height + 1), _below(right, self.size[1] - width + 1)
        return Holes(top, top + height * present, left, left + width * present)

    def apply(self, images: Tensor, parameters: Holes) -> Tensor:
        batch, height, width, channels = images.shape
        rows = _between(parameters.top, parameters.bottom, torch.arange(height, device=images.device))
        column = torch.arange(width * channels, device=images.device) // channels
        columns = _between(parameters.left, parameters.right, column)
        hole = rows[:, 0, :, None] & columns[:, 0, None, :]
        for k in range(1, rows.shape[1]):
            hole |= rows[:, k, :, None] & columns[:, k, None, :]
        lines = images.reshape(batch, height, width * channels)
        return _choose(hole, self.fill.repeat(width), lines).view(images.shape)


def _choose(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`a` where the mask is 255, `b` where it is 0, all uint8; torch.where takes 3 times as long."""
    return (a ^ b).bitwise_and_(mask).bitwise_xor_(b)


def _between(start: Tensor, stop: Tensor, n: Tensor) -> Tensor:
    """255 where start <= n < stop, else 0: (B, K), (B, K), (N,) → (B, K, N), uint8."""
    return ((n >= start[..., None]) & (n < stop[..., None])).to(torch.uint8) * 255
