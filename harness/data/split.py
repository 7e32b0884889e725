"""The result of decoding a data set (two splits of uint8 images with labels), and the selection of held-out images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Split:
    """images: shape (N, H, W, C), uint8; labels: shape (N,), int64, indices into the data set's classes."""

    images: Pixels
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Decoded:
    """A decoded data set, before images are held out."""

    classes: tuple[str, ...]
    train: Split
    test: Split
    remarks: tuple[str, ...] = ()
    """Changes made by decoding, a phrase per kind: "3 images with ... were ..."."""


def stratified(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """True for held-out images, shape (N,): round(fraction * count) of each class, drawn with the seed."""
    order = np.random.default_rng(seed).random(len(labels)).argsort()
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        held[members[: round(fraction * len(members))]] = True
    return held


def resized(images: Pixels, size: int) -> Pixels:
    """Resize images bilinearly: (N, H, W, C) → (N, size, size, C)."""
    from PIL import Image

    result = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for image, target in zip(images, result, strict=True):
        pixels = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        target[...] = np.asarray(pixels.resize((size, size), Image.Resampling.BILINEAR)).reshape(target.shape)
    return result
