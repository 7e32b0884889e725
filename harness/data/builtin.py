"""The data sets known by name: scikit-learn's digits, which need no network, and four that `archives` fetches.

Digits: E. Alpaydin and C. Kaynak, UCI "Optical Recognition of Handwritten Digits", 1998 (its test part). CIFAR-10 and
CIFAR-100: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; they come as pickles of Python
2, which are read without calling anything that they name. MNIST: LeCun, Cortes and Burges, 1998. Fashion-MNIST: Xiao
et al. 2017, arXiv:1708.07747.
"""

import io
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.archives import archived, unpacked, unreadable
from harness.data.decode import Decoded, Pixels, Split
from harness.data.sources import SOURCES

DIGITS_SIZE = 32
DIGITS_TEST_FRACTION = 0.2
_DIGITS = ("0 - zero", "1 - one", "2 - two", "3 - three", "4 - four")
_DIGITS += ("5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine")
_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
"""Both as torchvision calls them: the names are part of a data set's checksum."""
_NUMPY = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}
"""All that CIFAR's pickles name: what an array is made of."""


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


def decode_published(name: str, folder: Path, image_size: int | None) -> Decoded:
    """cifar10, cifar100, mnist or fashion_mnist, from `folder` if it holds a whole copy, else downloaded into it.

    Raises:
        DataError: there is no whole copy and it cannot be downloaded; says where a copy belongs.
    """
    source = SOURCES[name]
    try:
        decoded = _read(name, unpacked(source, folder))
    except Exception:  # whatever is missing or wrong in an unpacked copy, the archive is the remedy
        files = archived(name, source, folder)
        try:
            decoded = _read(name, files)
        except Exception as error:  # a pickle can raise anything
            raise unreadable(name, folder, error) from error
    if image_size is None:
        return decoded
    train, test = (Split(_resize(split.images, image_size), split.labels) for split in (decoded.train, decoded.test))
    return Decoded(decoded.classes, train, test)


def _read(name: str, files: Mapping[str, bytes]) -> Decoded:
    match name:
        case "cifar10":
            batches = [f"data_batch_{number}" for number in range(1, 6)]
            return _cifar(files, batches, "test_batch", b"labels", "batches.meta", b"label_names")
        case "cifar100":
            return _cifar(files, ["train"], "test", b"fine_labels", "meta", b"fine_label_names")
        case _:
            return _mnist(files, _DIGITS if name == "mnist" else _CLOTHES)


def _mnist(files: Mapping[str, bytes], classes: tuple[str, ...]) -> Decoded:
    def split(part: str) -> Split:
        images, labels = _idx(files[f"{part}-images-idx3-ubyte"], 3), _idx(files[f"{part}-labels-idx1-ubyte"], 1)
        return _split(images[..., None], labels, classes)

    return Decoded(classes, split("train"), split("t10k"))


def _idx(content: bytes, dimensions: int) -> Pixels:
    """MNIST's own format: a magic number, the shape, the bytes."""
    magic, *shape = struct.unpack_from(f">{1 + dimensions}I", content)
    if magic != 0x800 + dimensions:
        raise ValueError(f"an IDX file of bytes in {dimensions} dimensions begins otherwise")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


class _Named:
    """Stands for everything that a CIFAR pickle names: keeps what it is given, and does nothing."""

    def __init__(self, *given: Any) -> None:
        self.given: tuple[Any, ...] = given
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Named]:
        if (module, name) not in _NUMPY:
            raise pickle.UnpicklingError(f"a pickle in it asks for {module}.{name}"[:200])
        return _Named


def _unpickle(content: bytes) -> dict[bytes, Any]:
    found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(found, dict):
        raise ValueError("a pickle in it holds no names")
    return found


def _cifar(
    files: Mapping[str, bytes], train: list[str], test: str, label_key: bytes, meta: str, names_key: bytes
) -> Decoded:
    classes = tuple(str(name, "ascii") for name in _unpickle(files[meta])[names_key])

    def split(batches: list[str]) -> Split:
        found = [_unpickle(files[batch]) for batch in batches]
        planes = np.concatenate([_rows(batch[b"data"]) for batch in found]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([np.asarray(batch[label_key]) for batch in found])
        return _split(planes.transpose(0, 2, 3, 1), labels, classes)

    return Decoded(classes, split(train), split([test]))


def _rows(array: Any) -> Pixels:
    """A pickled array of bytes, from NumPy's own account of it: version, shape, type, order, content."""
    _, shape, kind, by_columns, content = array.state
    if kind.given[0] != b"u1":
        raise ValueError("a pickle in it holds other numbers than bytes")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")


def _split(images: Pixels, labels: NDArray[Any], classes: tuple[str, ...]) -> Split:
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "ui" or not labels.size:
        raise ValueError(f"{len(images)} images, {len(labels)} labels")
    if not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"labels {labels.min()} to {labels.max()} for {len(classes)} classes")
    return Split(images, labels.astype(np.int64))


def _resize(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(N, H, W, C) → (N, size, size, C), bilinear."""
    from PIL import Image

    resized = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for image, target in zip(images, resized, strict=True):
        pixels = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        target[...] = np.asarray(pixels.resize((size, size), Image.Resampling.BILINEAR)).reshape(target.shape)
    return resized
