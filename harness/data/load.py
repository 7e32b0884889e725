"""Data sets as uint8 arrays: decoded once, kept under data/cache/, memory-mapped from then on.

The cache's key covers what decoding depends on (for a folder: every file's name, size and time), so a changed folder
is decoded anew. The checksum covers what came out (pixels, labels, class names) and nothing else: two machines whose
checksums agree trained on the same data. No module here imports torch.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from harness.data.decode import decode_folder
from harness.data.digits import decode_digits
from harness.data.folders import DataError, list_folder
from harness.data.published import decode_published
from harness.data.split import Decoded, Split, stratified
from harness.plans.spec import Data

__all__ = ["Cached", "DataError", "Dataset", "Split", "load", "open_cached"]

_FORMAT = 1
"""Part of every cache key: raise it when decoding changes."""


@dataclass(frozen=True)
class Dataset:
    """What a run trains and is tested on. mean and std: one number a channel, 0..1, that normalisation uses."""

    name: str
    label: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split
    checksum: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        return self.train.images.shape[3]

    @property
    def height(self) -> int:
        return self.train.images.shape[1]

    @property
    def width(self) -> int:
        return self.train.images.shape[2]


@dataclass(frozen=True)
class Cached:
    """What the cache keeps of a data set, images memory-mapped; mean and std are those of all training images."""

    classes: tuple[str, ...]
    train: Split
    test: Split
    checksum: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load(data: Data, root: Path) -> Dataset:
    """The data set that `data` names; root: the project's folder, data sets and their cache lie in root/data.

    Raises:
        DataError: it is missing, incomplete or damaged, cannot be downloaded or stored, or does not fit `data`.
    """
    key, decode = _source(data, root)
    folder = root / "data" / "cache" / key
    cached = _read(folder) or _store(decode(), folder)
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
    return Dataset(data.name, data.label, cached.classes, train, validation, cached.test, cached.checksum, mean, std)


def open_cached(checksum: str, root: Path) -> Cached | None:
    """The cached data set with this checksum, if there is one; nothing is decoded or copied."""
    for meta in sorted((root / "data" / "cache").glob("[!.]*/meta.json")):
        cached = _read(meta.parent)
        if cached and cached.checksum == checksum:
            return cached
    return None


def _source(data: Data, root: Path) -> tuple[str, Callable[[], Decoded]]:
    """The cache key, and what to call when the cache has nothing under it."""
    size = data.image_size
    if data.name.startswith("folder:"):
        folder = list_folder(root / _expand(data.name.removeprefix("folder:")))
        facts = [str(folder.path), size, folder.train, folder.test]
        return _key(facts), lambda: decode_folder(folder, size)
    if data.name == "digits":
        return _key([data.name, size]), lambda: decode_digits(size)
    return _key([data.name, size]), lambda: decode_published(data.name, root / "data" / data.name, size)


def _expand(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"`data.name`: {path!r} begins with a user who has no home folder; give the path") from error


def _key(facts: list[object]) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, facts]).encode()).hexdigest()[:16]


def _normalisation(data: Data, cached: Cached) -> tuple[tuple[float, ...], tuple[float, ...]]:
    channels = len(cached.mean)
    if data.mean is not None and data.std is not None:
        if len(data.mean) != channels:
            raise DataError(
                f"`data.mean` and `data.std` must have one number a channel; got {len(data.mean)} for {channels} "
                f"channel{'s' * (channels > 1)} of {data.label!r}"
            )
        return data.mean, data.std
    if 0.0 in cached.std:
        raise DataError(
            f"`data.std` must be above 0, but all training images of {data.label!r} are the same in channel "
            f"{cached.std.index(0.0)}; check them, or set data.mean and data.std"
        )
    return cached.mean, cached.std


def _statistics(images: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, 0..1, from exact counts of the 256 values."""
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


def _read(folder: Path) -> Cached | None:
    """What is cached there, or None if it is absent or damaged."""

    def split(name: str) -> Split:
        images = np.load(folder / f"{name}_images.npy", mmap_mode="r")
        labels = np.load(folder / f"{name}_labels.npy", mmap_mode="r")
        if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
            raise ValueError("not images")
        if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
            raise ValueError("not their labels")
        return Split(images, np.array(labels))

    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        mean, std = tuple(map(float, meta["mean"])), tuple(map(float, meta["std"]))
        cached = Cached(tuple(meta["classes"]), split("train"), split("test"), str(meta["checksum"]), mean, std)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    shape = cached.train.images.shape[1:]
    fits = cached.test.images.shape[1:] == shape and len(mean) == len(std) == shape[2]
    return cached if fits and cached.train.labels.max() < len(cached.classes) else None


def _store(decoded: Decoded, folder: Path) -> Cached:
    """Write a folder of its own and rename it, so that no reader ever sees half a data set."""
    mean, std = _statistics(decoded.train.images)
    meta = {"classes": decoded.classes, "checksum": _checksum(decoded), "mean": mean, "std": std}
    part = folder.with_name(f".{folder.name}-{uuid4().hex}")
    try:
        part.mkdir(parents=True)
        for name, array in _arrays(decoded):
            with (part / name).open("wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())  # else a power cut could leave zeros in a file that is in place
        (part / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        _publish(part, folder)
    except OSError as error:
        needed = sum(array.nbytes for _, array in _arrays(decoded)) / 1e6
        reason = error.strerror or "no space left on device"  # NumPy reports a short write without a number
        raise DataError(
            f"`data.name`: the decoded images ({needed:.0f} MB) cannot be written to {str(folder.parent)!r} "
            f"({reason}); make room there and try again"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    cached = _read(folder)
    assert cached, f"{folder} was just written"
    return cached


def _publish(part: Path, folder: Path) -> None:
    """Rename `part` to `folder`, unless another process was first: then its copy serves. A damaged one makes way."""
    while True:
        try:
            part.rename(folder)
            return
        except OSError:
            if not folder.exists():
                raise
        if _read(folder):
            return
        damaged = part.with_name(f"{part.name}-damaged")
        with suppress(FileNotFoundError):  # another process may have moved it in between
            folder.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
