"""The description of a data set before it is read, and checks shared by all kinds of data sets."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.folders import DataError, LeftOut
from harness.data.split import Decoded, stratified
from harness.values import nearest

TEST_FRACTION = 0.2
DRAWN = f"{TEST_FRACTION:.0%} of each class, drawn once by a fixed seed, are the test images"
"""Remark for data sets without a test split."""


@dataclass(frozen=True)
class Origin:
    """A data set that has been found but not read yet."""

    facts: list[object]
    """JSON values that change if the decoded images would change: paths, sizes, times, and how they are decoded."""
    decode: Callable[[], Decoded]
    left_out: tuple[LeftOut, ...] = ()
    test_files: tuple[str, ...] = ()
    """Files of the test images in their order, if there is a file for each image."""
    sizes: Callable[[], Counter[tuple[int, int]]] | None = None
    """Counts the files by width and height, read from their headers; None if the images are not in files."""


def found(path: Path, kind: str, ending: str) -> Path:
    """The file at `path` with all links resolved.

    Args:
        kind: prefix of the data set's name, such as "csv".
        ending: ending of such files, such as ".csv".

    Raises:
        DataError: the file does not exist or is a folder.
    """
    try:
        if path.is_file():
            return path.resolve()
        is_folder, siblings = path.is_dir(), [each.name for each in path.parent.iterdir() if each.is_file()]
    except OSError:
        is_folder, siblings = False, []
    if is_folder:
        raise DataError(
            f"`data.name`: {str(path)!r} is a folder; {kind}:PATH must be a file, folder:PATH is for images"
        )
    near = nearest(path.name, [name for name in siblings if name.endswith(ending)])
    raise DataError(f"`data.name`: the file {str(path)[:200]!r} does not exist{near or f'; check {kind}:PATH'}")


def in_order(labels: set[str]) -> tuple[str, ...]:
    """Sorted class names; sorted as numbers if all are whole numbers, so that 2 comes before 10."""
    numbers = all(name.isascii() and name.isdigit() and (name == "0" or name[0] != "0") for name in labels)
    return tuple(sorted(labels, key=lambda name: (len(name) if numbers else 0, name)))


def check_classes(
    where: str, classes: tuple[str, ...], train: NDArray[np.int64], test: NDArray[np.int64], test_may_lack: bool
) -> None:
    """Check that every class has training images and, unless `test_may_lack`, test images.

    Args:
        where: name of the folder or file for messages.
        train, test: labels, which are indices into `classes`.

    Raises:
        DataError: there are fewer than two classes, or a class has no images.
    """
    if len(classes) < 2:
        raise DataError(f"`data.name`: at least 2 classes are needed; {where} holds {len(classes)}")
    for name, count in zip(classes, np.bincount(train, minlength=len(classes)), strict=True):
        if not count:
            raise DataError(f"`data.name`: every class needs training images; {where} has none of class {name!r}")
    for name, count in zip(classes, np.bincount(test, minlength=len(classes)), strict=True):
        if not count and not test_may_lack:
            raise DataError(
                f"`data.name`: every class needs test images; {where} has none of class {name!r}; add some, or set "
                "data.allow_missing_test_classes=true"
            )
    if not len(test):
        raise DataError(f"`data.name`: {where} has no test image")


def drawn(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for images that are drawn as test images if there is no split, shape (N,); the same for every call."""
    return stratified(labels, TEST_FRACTION, seed=0)
