"""The cache of decoded data sets in data/cache/: written once, then memory-mapped.

The key covers everything that decoding depends on (for a folder: every file's name, size and modification time), so a
changed folder is decoded again. The checksum covers only the result (pixels, labels, class names): two machines with
equal checksums trained on the same data.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from harness.data.duplicates import Duplicates, duplicates
from harness.data.folders import DataError
from harness.data.split import Decoded, Split

_FORMAT = 2
"""Part of every cache key; increase it when decoding or the format of the cache changes."""
_LONGEST_META = 2**24
"""Maximum size in bytes of the metadata; enough for the names of 100,000 classes."""
_DAY = 86_400.0


@dataclass(frozen=True)
class Cached:
    """A cached data set with memory-mapped images.

    mean and std are over all training images. remarks describe changes made by decoding. duplicates is None if an older
    version of the cache did not count them.
    """

    classes: tuple[str, ...]
    train: Split
    test: Split
    checksum: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    remarks: tuple[str, ...]
    duplicates: Duplicates | None


def key(facts: list[object]) -> str:
    """The name of the cache folder for the data set described by these facts."""
    return hashlib.sha256(json.dumps([_FORMAT, facts]).encode()).hexdigest()[:16]


def open_cached(checksum: str, root: Path) -> Cached | None:
    """Open the cached data set with this checksum; None if there is none. Nothing is decoded or copied."""
    for meta in sorted((root / "data" / "cache").glob("[!.]*/meta.json")):
        cached = read(meta.parent)
        if cached and cached.checksum == checksum:
            return cached
    return None


def _statistics(images: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation (0..1) of each channel, from exact counts of the 256 values."""
    counts = np.zeros((images.shape[3], 256), np.int64)
    for start in range(0, len(images), 1000):
        for channel in range(len(counts)):
            counts[channel] += np.bincount(images[start : start + 1000, ..., channel].ravel(), minlength=256)
    share = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = (share * values).sum(axis=1)
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    return mean.tolist(), std.tolist()


def _checksum(decoded: Decoded) -> str:
    sha = hashlib.sha256(json.dumps(decoded.classes).encode())
    for split in (decoded.train, decoded.test):
        sha.update(json.dumps(split.images.shape).encode())
        sha.update(np.ascontiguousarray(split.images).data)
        sha.update(split.labels.astype("<i8").data)
    return sha.hexdigest()[:16]


def _arrays(decoded: Decoded | Cached) -> Iterator[tuple[str, NDArray[np.uint8] | NDArray[np.int64]]]:
    for name, split in (("train", decoded.train), ("test", decoded.test)):
        yield f"{name}_images.npy", split.images
        yield f"{name}_labels.npy", split.labels


def read(folder: Path) -> Cached | None:
    """Read a cache folder; None if it is missing or damaged. Sizes are checked against the files first."""

    def array(name: str) -> NDArray[Any]:
        if not (folder / name).is_file():
            raise FileNotFoundError(name)
        return np.lib.format.open_memmap(folder / name, mode="r")

    def split(name: str) -> Split:
        images, labels = array(f"{name}_images.npy"), array(f"{name}_labels.npy")
        if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
            raise ValueError("not images")
        if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
            raise ValueError("not their labels")
        return Split(images, np.array(labels))

    try:
        file = folder / "meta.json"
        if not file.is_file() or file.stat().st_size > _LONGEST_META:
            return None
        meta = json.loads(file.read_text(encoding="utf-8"))
        cached = Cached(
            *(tuple(meta["classes"]), split("train"), split("test"), str(meta["checksum"])),
            *(tuple(map(float, meta["mean"])), tuple(map(float, meta["std"])), tuple(meta.get("remarks", ()))),
            Duplicates(**meta["duplicates"]) if "duplicates" in meta else None,
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError):
        return None
    shape = cached.train.images.shape[1:]
    fits = cached.test.images.shape[1:] == shape and len(cached.mean) == len(cached.std) == shape[2]
    labels = (cached.train.labels, cached.test.labels)
    return cached if fits and all(0 <= some.min() <= some.max() < len(cached.classes) for some in labels) else None


def store(decoded: Decoded, folder: Path) -> Cached:
    """Write a temporary folder and rename it, so that readers never see an incomplete data set."""
    _sweep(folder.parent)
    mean, std = _statistics(decoded.train.images)
    meta = {"classes": decoded.classes, "checksum": _checksum(decoded), "mean": mean, "std": std}
    meta |= {"remarks": decoded.remarks, "duplicates": asdict(duplicates(decoded.train, decoded.test))}
    part = folder.with_name(f".{folder.name}-{uuid4().hex}")
    try:
        part.mkdir(parents=True)
        for name, array in _arrays(decoded):
            with (part / name).open("wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())  # otherwise a power failure could leave zeros in the renamed file
        (part / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        _publish(part, folder)
    except OSError as error:
        needed = sum(array.nbytes for _, array in _arrays(decoded)) / 1e6
        reason = error.strerror or "no space left on device"  # NumPy's error for a short write has no strerror
        raise DataError(
            f"`data.name`: the decoded images ({needed:.0f} MB) cannot be written to {str(folder.parent)!r} "
            f"({reason}); make room there and try again"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    cached = read(folder)
    assert cached, f"{folder} was just written"
    return cached


def _sweep(cache: Path) -> None:
    """Remove leftovers of killed processes: hidden folders in which nothing was written for a day."""
    for leftover in cache.glob(".*/"):
        with suppress(OSError):  # another process may remove it too
            newest = max(path.lstat().st_mtime for path in (leftover, *leftover.rglob("*")))
            if newest < time.time() - _DAY:
                shutil.rmtree(leftover, ignore_errors=True)


def _publish(part: Path, folder: Path) -> None:
    """Rename `part` to `folder`, unless another process has created it meanwhile; a damaged folder is replaced."""
    while True:
        try:
            part.rename(folder)
            return
        except OSError:
            if not folder.exists():
                raise
        if read(folder):
            return
        damaged = part.with_name(f"{part.name}-damaged")
        with suppress(FileNotFoundError):  # another process may have moved it meanwhile
            folder.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
