"""What decoding any source gives: two splits of uint8 images with their labels, and the draw that holds some out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Split:
    """images: (N, H, W, C) uint8; labels: (N,) int64, indices into the data set's classes."""

    images: Pixels
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Decoded:
    """What a source holds, before anything is held out."""

    classes: tuple[str, ...]
    train: Split
    test: Split
    remarks: tuple[str, ...] = ()
    """What decoding changed in the images, one phrase a kind: "3 images with ... were ..."."""


def stratified(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which images are held out, (N,) bool: round(fraction * count) of each class, drawn by the seed."""
    order = np.random.default_rng(seed).random(len(labels)).argsort()
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        held[members[: round(fraction * len(members))]] = True
    return held


def resized(images: Pixels, size: int) -> Pixels:
    """(N, H, W, C) → (N, size, size, C), bilinear."""
    from PIL import Image

    result = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for image, target in zip(images, result, strict=True):
        pixels = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        target[...] = np.asarray(pixels.resize((size, size), Image.Resampling.BILINEAR)).reshape(target.shape)
    return result
