"""The data sets known by name: scikit-learn's digits, which need no network, and four that torchvision fetches.

Digits: E. Alpaydin and C. Kaynak, UCI "Optical Recognition of Handwritten Digits", 1998 (its test part).
"""

import os
import shutil
import socket
import warnings
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from harness.decode import DataError, Decoded, Split

DIGITS_SIZE = 32
DIGITS_TEST_FRACTION = 0.2
STALL_SECONDS = 30.0
"""A download that is silent for so long counts as no network: torchvision itself would wait for ever."""
_IDX = tuple(
    f"{part}-ubyte.gz" for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
)
_ARCHIVES = {
    "cifar10": ("cifar-10-python.tar.gz",),
    "cifar100": ("cifar-100-python.tar.gz",),
    "mnist": tuple(f"MNIST/raw/{name}" for name in _IDX),
    "fashion_mnist": tuple(f"FashionMNIST/raw/{name}" for name in _IDX),
}
"""What torchvision downloads, relative to the data set's folder; it unpacks them beside themselves."""


def stratified(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which images are held out, (N,) bool: round(fraction * count) of each class, drawn by the seed."""
    order = np.random.default_rng(seed).random(len(labels)).argsort()
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        held[members[: round(fraction * len(members))]] = True
    return held


def decode_digits(image_size: int | None) -> Decoded:
    """1,797 handwritten digits, 8x8 resized to 32x32 or image_size, three equal channels, in a fixed split of 80/20."""
    from sklearn.datasets import load_digits

    pixels, targets = load_digits(return_X_y=True)  # (1797, 64), 0..16
    small = np.rint(np.asarray(pixels) * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    images = _resize(small, image_size or DIGITS_SIZE).repeat(3, axis=3)
    labels = np.asarray(targets, np.int64)
    test = stratified(labels, DIGITS_TEST_FRACTION, seed=0)
    classes = tuple(str(digit) for digit in range(10))
    return Decoded(classes, Split(images[~test], labels[~test]), Split(images[test], labels[test]))


def decode_torchvision(name: str, folder: Path, image_size: int | None) -> Decoded:
    """cifar10, cifar100, mnist or fashion_mnist, from `folder` if it holds a whole copy, else downloaded into it.

    Raises:
        DataError: there is no whole copy and it cannot be downloaded; says where a copy belongs.
    """
    from torchvision import datasets

    sets = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
    sets |= {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}
    try:
        decoded = _read(sets[name], folder)
    except Exception:  # whatever is missing or wrong in a local copy, a fresh one is the remedy
        try:
            _fetch(sets[name], folder, _ARCHIVES[name])
        except (OSError, RuntimeError, HTTPException) as error:
            place = folder / Path(_ARCHIVES[name][0]).parent
            raise DataError(
                f"`data.name`: {str(folder)!r} holds no whole copy of {name} and it cannot be downloaded "
                f"({' '.join(str(error).split())}); put {', '.join(Path(file).name for file in _ARCHIVES[name])} into "
                f"{str(place)!r}, or use DATA=digits or DATA=folder:PATH, which need no network"
            ) from error
        decoded = _read(sets[name], folder)
    if image_size is None:
        return decoded
    train, test = (Split(_resize(split.images, image_size), split.labels) for split in (decoded.train, decoded.test))
    return Decoded(decoded.classes, train, test)


def _read(build: Callable[..., Any], folder: Path) -> Decoded:
    with warnings.catch_warnings():
        # CIFAR's pickles are from Python 2 and spell dtype's flags as integers, which NumPy 2.4 warns of.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        train, test = build(folder, train=True), build(folder, train=False)
    return Decoded(tuple(train.classes), _split(train), _split(test))


def _split(source: Any) -> Split:
    images = np.asarray(source.data)
    images = images if images.ndim == 4 else images[..., None]
    if len(images) != len(source.targets):
        raise ValueError(f"{len(images)} images, {len(source.targets)} labels")
    return Split(images, np.asarray(source.targets, np.int64))


def _fetch(build: Callable[..., Any], folder: Path, archives: tuple[str, ...]) -> None:
    """Download in a folder of its own and move the files when all are there, for torchvision unpacks in place.

    Archives that lie in `folder` already are used, not downloaded: torchvision compares their MD5.
    """
    folder = folder.resolve()
    part = folder.with_name(f".{folder.name}-{uuid4().hex}")
    usual_timeout = socket.getdefaulttimeout()
    try:
        for archive in archives:
            (part / archive).parent.mkdir(parents=True, exist_ok=True)
            if (folder / archive).is_file():
                shutil.copy(folder / archive, part / archive)
        socket.setdefaulttimeout(STALL_SECONDS)
        build(part, download=True)
        for directory, _, names in os.walk(part):
            target = folder / Path(directory).relative_to(part)
            target.mkdir(parents=True, exist_ok=True)
            for name in names:
                shutil.move(Path(directory) / name, target / name)
    finally:
        socket.setdefaulttimeout(usual_timeout)
        shutil.rmtree(part, ignore_errors=True)


def _resize(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(N, H, W, C) → (N, size, size, C), bilinear."""
    from PIL import Image

    resized = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for image, target in zip(images, resized, strict=True):
        pixels = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        target[...] = np.asarray(pixels.resize((size, size), Image.Resampling.BILINEAR)).reshape(target.shape)
    return resized
