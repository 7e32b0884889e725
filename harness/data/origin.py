"""Where a data set's images come from: what each kind of source gives `load`, and what all of them check."""

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
"""Said where a source has no test split of its own."""


@dataclass(frozen=True)
class Origin:
    """A data set that has been found and not read yet."""

    facts: list[object]
    """What tells, as JSON, that the decoded images would be others: paths, sizes, times, how they are read."""
    decode: Callable[[], Decoded]
    left_out: tuple[LeftOut, ...] = ()
    test_files: tuple[str, ...] = ()
    """The test images' files in their order, where each has one."""
    sizes: Callable[[], Counter[tuple[int, int]]] | None = None
    """Counts the files by width and height, from their headers; None where images are no files."""


def found(path: Path, kind: str, ending: str) -> Path:
    """The file at `path`, with every link followed.

    Args:
        kind: what stands before the path: "csv".
        ending: of such files: ".csv".

    Raises:
        DataError: it does not exist, or is a folder.
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
    """Class names sorted, by their numbers where all are whole numbers: 2 before 10."""
    numbers = all(name.isascii() and name.isdigit() and str(int(name)) == name for name in labels)
    return tuple(sorted(labels, key=int) if numbers else sorted(labels))


def check_classes(
    where: str, classes: tuple[str, ...], train: NDArray[np.int64], test: NDArray[np.int64], test_may_lack: bool
) -> None:
    """Every class has training images, and test images unless `test_may_lack`.

    Args:
        where: what holds them, for a message.
        train, test: labels, indices into `classes`.

    Raises:
        DataError: fewer than two classes, or a class without images.
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
    """Which images of a source without splits are the test images: (N,) bool, the same at every call."""
    return stratified(labels, TEST_FRACTION, seed=0)
