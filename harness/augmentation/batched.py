"""Run an albumentations 2.0.8 pipeline as tensor code for whole batches, with counter-based random numbers.

Parameters have the same distributions and pixels the same values as in the library; a transform without an exact form
in `batched_forms` raises `NoBatchedForm`. A random number is a hash of (seed, epoch, image index, position in the
pipeline, draw) by SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195), so it is the same on every device
and for any composition of batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.augmentation.batched_forms import Crop, Cutout, Flip, Form, Lengths, Pad

_GAMMA, _FIRST, _SECOND = (  # SplitMix64's constants, as int64 holds them
    constant - (1 << 64) for constant in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_COUNTERS = 1 << 16  # reserved per transform


class NoBatchedForm(Exception):
    """A transform or argument cannot be reproduced exactly as tensor code; the message names it."""


def sample_keys(seed: int, epoch: int, index: Tensor) -> Tensor:
    """The 64-bit keys that determine all randomness of samples: index (B,), int64 → (B,), int64."""
    return keys_in(int(epoch_key(seed, epoch)), index)


def epoch_key(seed: int | Tensor, epoch: int) -> Tensor:
    """The key of an epoch, on the CPU, from which samples' keys are computed; for M runs: (M, 1) → (M, 1), int64."""
    return _split(_split(torch.as_tensor(seed), torch.tensor(0)), torch.tensor(epoch))


def keys_in(epoch_key: int | Tensor, index: Tensor) -> Tensor:
    """Keys of samples: index (B,) → (B,); for M runs: keys (M, 1) and index (M, B), on one device → (M, B)."""
    return _split(epoch_key, index)


def counters(place: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Counters, shape (count,), int64, of the random draws of the transform at position `place` in a pipeline."""
    return place * _COUNTERS + torch.arange(count, device=device)


def draws(keys: Tensor, counters: Tensor) -> Tensor:
    """Random integers in 0..2**32-1: keys (B,), int64, and counters (count,), int64 → (B, count), int64."""
    return _shift(_split(keys[:, None], counters), 32)


def _split(key: Tensor | int, counter: Tensor) -> Tensor:
    """Output number `counter` of the SplitMix64 generator with the initial state `key`."""
    z = key + (counter + 1) * _GAMMA
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """A logical right shift; torch's is arithmetic, which copies the sign bit."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


@dataclass(frozen=True, eq=False)
class Pipeline:
    """The batched forms in the order of the experiment's transforms."""

    forms: tuple[Form, ...]
    counted: Tensor
    """The counters of all draws, form by form, as a tensor, because inductor cannot compile the arithmetic of `_split`
    with constants."""

    def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
        """Transform images (B, H, W, C), uint8, with keys (B,), int64, from `sample_keys` → (B, H', W', C), uint8."""
        drawn = draws(keys, self.counted)
        for form in self.forms:
            parameters, drawn = form.draw(drawn[:, : form.count]), drawn[:, form.count :]
            images = form.apply(images, parameters)
        return images


class Input(NamedTuple):
    """Size, channels and device of the images that a transform receives."""

    height: int
    width: int
    channels: int
    device: torch.device


def pipeline(transforms: Sequence[Any], shape: tuple[int, int, int], device: torch.device) -> Pipeline:
    """Convert albumentations' objects, with validated arguments, to a batched pipeline for images of `shape` (H, W, C).

    Raises:
        NoBatchedForm: a transform or argument has no exact form.
    """
    images = Input(*shape, device)
    forms: list[Form] = []
    counted = [counters(0, 0, device)]
    for place, transform in enumerate(transforms):
        name = type(transform).__name__
        if transform.p == 0:
            continue
        if name not in _FORMS:
            raise NoBatchedForm(f"{name} has no batched form")
        made, (height, width) = _FORMS[name](transform, images)
        if (height, width) != images[:2] and transform.p < 1:
            raise NoBatchedForm(f"{name} has no batched form with p={transform.p}: it would resize only some images")
        images = images._replace(height=height, width=width)
        forms += made
        counted += [counters(place, form.count, device) for form in made]
    return Pipeline(tuple(forms), torch.cat(counted))


Made = tuple[list[Form], tuple[int, int]]
"""The forms of one transform, and the height and width of their results."""


def _flip(transform: Any, images: Input) -> Made:
    return [Flip(type(transform).__name__ == "HorizontalFlip", transform.p)], images[:2]


def _pad(transform: Any, images: Input) -> Made:
    padding = transform.padding
    if isinstance(padding, int):
        padding = (padding,) * 4
    left, top, right, bottom = padding * (4 // len(padding))
    return _border(transform, (top, bottom), (left, right), images)


def _pad_if_needed(transform: Any, images: Input) -> Made:
    vertical = _missing(images.height, transform.min_height, transform.pad_height_divisor)
    horizontal = _missing(images.width, transform.min_width, transform.pad_width_divisor)
    return _placed(transform, "position", vertical, horizontal, images)


def _crop(transform: Any, images: Input) -> Made:
    forms: list[Form] = []
    height, width = images[:2]
    if transform.pad_if_needed:
        missing = _missing(height, transform.height, None), _missing(width, transform.width, None)
        forms, (height, width) = _placed(transform, "pad_position", *missing, images)
    down, right = height - transform.height, width - transform.width
    if min(down, right) < 0:
        raise NoBatchedForm(f"{type(transform).__name__} has no batched form that is larger than its images")
    random = type(transform).__name__ == "RandomCrop"
    return [*forms, Crop(transform.height, transform.width, down, right, random)], (transform.height, transform.width)


def _missing(size: int, least: int | None, divisor: int | None) -> tuple[int, int]:
    """The padding before and after an image in the centre."""
    if least is None:
        least = size + -size % (divisor or 1)
    total = max(least - size, 0)
    return total // 2, total - total // 2


def _placed(
    transform: Any, argument: str, vertical: tuple[int, int], horizontal: tuple[int, int], images: Input
) -> Made:
    position = getattr(transform, argument)
    if position == "random" and sum(vertical + horizontal) > 0:
        raise NoBatchedForm(f"`{type(transform).__name__}.{argument}` 'random' has no batched form")
    if "_" in position:  # the corner in which the image is placed, such as "top_left"
        vertical = (0, sum(vertical)) if position.startswith("top") else (sum(vertical), 0)
        horizontal = (0, sum(horizontal)) if position.endswith("left") else (sum(horizontal), 0)
    return _border(transform, vertical, horizontal, images)


def _border(transform: Any, vertical: tuple[int, int], horizontal: tuple[int, int], images: Input) -> Made:
    size = images.height + sum(vertical), images.width + sum(horizontal)
    if size == images[:2]:
        return [], size
    fill = _fill(transform, images) if transform.border_mode == 0 else torch.empty(0)
    (top, bottom), (left, right) = vertical, horizontal
    return [Pad(top, bottom, left, right, transform.border_mode, fill)], size


def _cutout(transform: Any, images: Input) -> Made:
    ranges = transform.hole_height_range, transform.hole_width_range
    in_pixels = ranges[0][1] >= 1  # the library decides by the heights only
    lengths = []
    for size, (low, high) in zip(images[:2], ranges, strict=True):
        if int(low) > size or (not in_pixels and high >= 1):
            raise NoBatchedForm(f"CoarseDropout has no batched form with holes of {low}..{high} in {size} pixels")
        stop = int(min(high, size)) + 1
        lengths.append(Lengths.between(int(low), stop) if in_pixels else Lengths.between(size * low, size * high))
    heights, widths = lengths
    form = Cutout(images[:2], transform.num_holes_range, heights, widths, _fill(transform, images), transform.p)
    return [form], images[:2]


def _fill(transform: Any, images: Input) -> Tensor:
    """The fill value, shape (C,), uint8; non-integers are refused, as the library rounds them inconsistently."""
    fill = transform.fill if isinstance(transform.fill, tuple) else (transform.fill,) * images.channels
    whole = all(isinstance(value, int | float) and value in range(256) for value in fill)
    if not whole or len(fill) != images.channels:
        raise NoBatchedForm(f"`{type(transform).__name__}.fill` {transform.fill!r} has no batched form")
    return torch.tensor(fill, dtype=torch.uint8, device=images.device)


_FORMS = {
    "Pad": _pad,
    "PadIfNeeded": _pad_if_needed,
    "RandomCrop": _crop,
    "CenterCrop": _crop,
    "HorizontalFlip": _flip,
    "VerticalFlip": _flip,
    "CoarseDropout": _cutout,
}
