"""Load the data set of a recipe: decoded images, held-out images, and statistics for normalisation.

No module in this package imports torch before a published data set is decoded.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data import arrays, cache, digits, images, table, vision
from harness.data.cache import Cached, open_cached
from harness.data.duplicates import Duplicates
from harness.data.folders import DataError, LeftOut, left_out_line
from harness.data.origin import Origin
from harness.data.split import Split, stratified
from harness.environment.files import typed_path
from harness.plans.spec import Data

__all__ = ["Cached", "DataError", "Dataset", "Duplicates", "LeftOut", "Split", "load", "open_cached"]

HELD_OUT = "held-out training images stand in the place of the test images, which are not read"
_LOG = logging.getLogger(__name__)
_FARTHEST_MEAN = 0.5
_LARGEST_RATIO = 20.0
"""Maximum ratio between the images' own std and a given one; it is 255 if the given one was divided by 255 twice.
(Means are compared as well; ImageNet's mean differs from MNIST's by 0.35.)"""


@dataclass(frozen=True)
class Dataset:
    """The images that a run is trained and tested on.

    mean and std: one number (0..1) per channel, used for normalisation. left_out: skipped files of a folder. remarks:
    changes made by decoding. duplicates: counted before images are held out; None if they were not counted.
    """

    name: str
    label: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split
    checksum: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    left_out: tuple[LeftOut, ...] = ()
    remarks: tuple[str, ...] = ()
    duplicates: Duplicates | None = None
    test_files: tuple[str, ...] = ()
    """For a folder: the relative paths of the test images' files, in their order."""

    @property
    def channels(self) -> int:
        return self.train.images.shape[3]

    @property
    def height(self) -> int:
        return self.train.images.shape[1]

    @property
    def width(self) -> int:
        return self.train.images.shape[2]


def load(data: Data, root: Path) -> Dataset:
    """Load a data set; skipped files and changes made by decoding are logged each time.

    Args:
        root: the project's folder; data sets and their cache are in root/data.

    Raises:
        DataError: the data set is missing, incomplete or damaged, cannot be downloaded or stored, or does not fit
            `data`.
    """
    found = origin(data, root)
    if found.left_out:
        _LOG.warning(left_out_line(Path(str(found.facts[0])), found.left_out))
    folder = root / "data" / "cache" / cache.key(found.facts)
    cached = cache.read(folder) or cache.store(found.decode(), folder)
    for remark in cached.remarks:
        _LOG.warning("%s: %s", data.label, remark)
    mean, std = _normalisation(data, cached)
    train, validation = cached.train, None
    if data.validation_fraction:
        held = stratified(train.labels, data.validation_fraction, data.validation_seed)
        if not held.any():
            raise DataError(
                f"`data.validation_fraction` {data.validation_fraction} holds out no image: the largest of "
                f"{len(cached.classes)} classes has {np.bincount(train.labels).max()}; raise it, or set 0"
            )
        validation = Split(train.images[held], train.labels[held])
        train = Split(train.images[~held], train.labels[~held])
    test, test_files, remarks = cached.test, found.test_files, cached.remarks
    if data.scored_on == "held_out":
        assert validation is not None, "a recipe's rule"
        test, test_files, remarks = validation, (), (*remarks, HELD_OUT)
    return Dataset(
        *(data.name, data.label, cached.classes, train, validation, test, cached.checksum, mean, std),
        *(found.left_out, remarks, cached.duplicates, test_files),
    )


_BY_PATH: dict[str, Callable[[Data, Path], Origin]] = {
    "folder:": images.origin,
    "csv:": table.origin,
    "npz:": arrays.origin,
}
"""Prefix of a path → the function that finds the images there."""


def origin(data: Data, root: Path) -> Origin:
    """Find the images that `data` names, without decoding them.

    Raises:
        DataError: they do not exist or do not form a data set.
    """
    for start, find in _BY_PATH.items():
        if data.name.startswith(start):
            return find(data, root / typed_path(data.name.removeprefix(start), "`data.name`"))
    if data.name.startswith("torchvision/"):
        return vision.origin(data, root)
    return digits.origin(data, root) if data.name == "digits" else vision.published_origin(data.name, data, root)


def _normalisation(data: Data, cached: Cached) -> tuple[tuple[float, ...], tuple[float, ...]]:
    channels = len(cached.mean)
    if data.mean is not None and data.std is not None:
        if len(data.mean) != channels:
            raise DataError(
                f"`data.mean` and `data.std` must have one number a channel; got {len(data.mean)} for {channels} "
                f"channel{'s' * (channels > 1)} of {data.label!r}"
            )
        _refuse_another_scale(data, data.mean, data.std, cached)
        return data.mean, data.std
    if 0.0 in cached.std:
        raise DataError(
            f"`data.std` must be above 0, but all training images of {data.label!r} are the same in channel "
            f"{cached.std.index(0.0)}; check them, or set data.mean and data.std"
        )
    return cached.mean, cached.std


def _refuse_another_scale(data: Data, mean: tuple[float, ...], std: tuple[float, ...], cached: Cached) -> None:
    """Refuse statistics for pixel values 0..255, or otherwise far from those of the images. A mean of 0 is allowed."""
    own = f"the images' own are {_rounded(cached.mean)} and {_rounded(cached.std)}, taken where both are left out"
    if max(*mean, *std) > 1:
        divided = f"data.mean={_rounded(mean, 255)} data.std={_rounded(std, 255)}"
        raise DataError(
            f"`data.mean` and `data.std` are of pixels from 0 to 1; got {_rounded(mean)} and {_rounded(std)}: if they "
            f'are of 0 to 255, SET="{divided}"; {own}'
        )
    shifted = any(given and abs(given - true) > _FARTHEST_MEAN for given, true in zip(mean, cached.mean, strict=True))
    if shifted or any(true > _LARGEST_RATIO * given for given, true in zip(std, cached.std, strict=True)):
        raise DataError(
            f"`data.mean` and `data.std` must fit the images of {data.label!r}; got {_rounded(mean)} and "
            f"{_rounded(std)}; {own}"
        )


def _rounded(values: tuple[float, ...], divisor: int = 1) -> str:
    return f"[{','.join(f'{value / divisor:.4g}' for value in values)}]"
