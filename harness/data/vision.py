"""`torchvision/<name>`: classification data sets that torchvision reads.

None of the data sets in SETS is unpickled. torchvision checks the files' MD5 sums each time for SVHN and STL10; for the
others it checks downloads, while an existing copy in data/torchvision/<name>/ is read without a check. CIFAR, MNIST and
Fashion-MNIST are delegated to `published`, which verifies SHA-256 sums before unpickling. Data sets that would unpickle
unverified files, or that do not have one label per image, are not supported.
"""

import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.data import published
from harness.data.folders import DataError
from harness.data.origin import DRAWN, Origin, check_classes, drawn
from harness.data.split import Decoded, Pixels, Split
from harness.plans.spec import Data
from harness.values import in_one_line, nearest

PUBLISHED = {"CIFAR10": "cifar10", "CIFAR100": "cifar100", "MNIST": "mnist", "FashionMNIST": "fashion_mnist"}
_BY_SPLIT: tuple[Mapping[str, object], Mapping[str, object]] = {"split": "train"}, {"split": "test"}
_BY_FLAG: tuple[Mapping[str, object], Mapping[str, object]] = {"train": True}, {"train": False}
_TRAINVAL: tuple[Mapping[str, object], Mapping[str, object]] = {"split": "trainval"}, {"split": "test"}
SETS: dict[str, tuple[Mapping[str, object], Mapping[str, object] | None]] = {
    **dict.fromkeys(("SVHN", "STL10", "GTSRB", "DTD", "Food101", "Flowers102"), _BY_SPLIT),
    **dict.fromkeys(("Country211", "RenderedSST2"), _BY_SPLIT),
    **dict.fromkeys(("KMNIST", "USPS"), _BY_FLAG),
    **dict.fromkeys(("OxfordIIITPet", "FGVCAircraft"), _TRAINVAL),
    "EuroSAT": ({}, None),
}
"""Name → arguments of torchvision's class for the training and test split; None draws a fifth of each class to test."""


def origin(data: Data, root: Path) -> Origin:
    """A data set by torchvision's name, from root/data/; it is downloaded there if necessary.

    Raises:
        DataError: the name is unknown.
    """
    name = data.name.removeprefix("torchvision/")
    if name in PUBLISHED:
        return published_origin(PUBLISHED[name], data, root)
    if name not in SETS:
        known = sorted({*SETS, *PUBLISHED})
        same = [each for each in known if each.lower() == name.lower()]
        raise DataError(
            f"`data.name` must be torchvision/ and one of {', '.join(known)}, which are read without unpickling what "
            f"nobody has verified; got {name!r}{nearest(same[0] if same else name, known)}"
        )
    place = root / "data" / "torchvision" / name
    return Origin([data.name, data.image_size], lambda: _decode(name, place, data.image_size))


def published_origin(name: str, data: Data, root: Path) -> Origin:
    """CIFAR, MNIST or Fashion-MNIST, from root/data/<name>/."""
    decode = partial(published.decode_published, name, root / "data" / name, data.image_size)
    return Origin([name, data.image_size], decode)


def _decode(name: str, place: Path, image_size: int | None) -> Decoded:
    from torchvision import datasets

    make, (train, test) = getattr(datasets, name), SETS[name]
    asked = [each for each in (train, test) if each is not None]
    try:
        opened = [make(place, **each) for each in asked] if place.is_dir() else _download(make, asked, place)
        read = [_read(each, image_size) for each in opened]
    except DataError:
        raise
    except Exception as error:  # torchvision, PIL and the network raise many types of errors
        there = f"{str(place)!r} holds no whole copy of {name} that can be read" if place.is_dir() else ""
        said = there or f"{name} is not in {str(place)!r} and cannot be downloaded"
        raise DataError(
            f"`data.name`: {said} ({in_one_line(error)}); put there what torchvision.datasets.{name} keeps in its "
            "root, or remove the folder to have it downloaded"
        ) from error
    if any(pixels.shape[1:] != read[0][0].shape[1:] for pixels, _ in read):
        raise _sizes_differ(name)
    classes = _classes(opened[0], np.concatenate([labels for _, labels in read]))
    remarks = tuple[str, ...]()
    if test is None:
        pixels, labels = read[0]
        held = drawn(labels)
        read, remarks = (
            [(pixels[~held], labels[~held]), (pixels[held], labels[held])],
            (f"{name} has no test split: {DRAWN}",),
        )
    (train_pixels, train_labels), (test_pixels, test_labels) = read
    check_classes(name, classes, train_labels, test_labels, test_may_lack=False)
    return Decoded(classes, Split(train_pixels, train_labels), Split(test_pixels, test_labels), remarks)


def _download(make: Callable[..., Any], asked: list[Mapping[str, object]], place: Path) -> list[Any]:
    """Download to a temporary folder that is renamed to `place` when complete, so that no incomplete copy is used."""
    from filelock import FileLock

    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(f".{place.name}.lock")):
        if not place.is_dir():
            with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as part, _no_endless_wait():
                whole = Path(part) / place.name
                whole.mkdir()
                for each in asked:
                    make(whole, **each, download=True)
                whole.rename(place)
    return [make(place, **each) for each in asked]


@contextmanager
def _no_endless_wait() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(published.STALL_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _read(opened: Any, image_size: int | None) -> tuple[Pixels, np.ndarray[Any, np.dtype[np.int64]]]:
    """All images and labels; one channel if all images are grey, else three."""
    from PIL import Image

    images, labels = list[Pixels](), list[int]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PIL's, about tags that it cannot read
        for index in range(len(opened)):
            image, label = opened[index]
            image = image if image.mode == "L" else image.convert("RGB")
            if image_size:
                image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
            images.append(np.asarray(image).reshape(image.height, image.width, -1))
            labels.append(int(label))
    if len({pixels.shape[:2] for pixels in images}) > 1:
        raise _sizes_differ(type(opened).__name__)
    channels = max(pixels.shape[2] for pixels in images)
    stacked = np.stack([pixels if pixels.shape[2] == channels else pixels.repeat(3, axis=2) for pixels in images])
    return stacked, np.array(labels, np.int64)


def _sizes_differ(name: str) -> DataError:
    return DataError(
        f'`data.image_size` must be given when image sizes differ, as those of {name} do: SET="data.image_size=64"'
    )


def _classes(opened: Any, labels: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[str, ...]:
    known = [str(name) for name in getattr(opened, "classes", None) or ()]
    return tuple(known) if len(known) > labels.max() else tuple(str(label) for label in range(labels.max() + 1))
