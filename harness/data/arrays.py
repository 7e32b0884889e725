"""`npz:PATH`: images and labels as NumPy arrays in one file, read without unpickling.

The arrays are x_train, y_train, x_test and y_test, as in Keras, or train_images, train_labels, test_images and
test_labels, as in MedMNIST (Yang et al. 2023, arXiv:2110.14795). Images are uint8, shape (N, H, W) or (N, H, W, 1 or
3). Labels are integers or strings, shape (N,) or (N, 1). Each distinct label is a class, named after its value or, if
there is an array `classes` of strings, after the entry with that index.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from harness.data.folders import DataError, LeftOut
from harness.data.origin import Origin, check_classes, found, in_order
from harness.data.split import Decoded, Pixels, Split, resized
from harness.plans.spec import Data
from harness.values import in_one_line

_FORMS = (
    {split: (f"x_{split}", f"y_{split}") for split in ("train", "val", "test")},
    {split: (f"{split}_images", f"{split}_labels") for split in ("train", "val", "test")},
)


def origin(data: Data, path: Path) -> Origin:
    """The data set in the .npz file at `path`.

    Raises:
        DataError: the file does not exist, is not an .npz file, or lacks the arrays.
    """
    file = found(path, "npz", ".npz")
    names = _names(file)
    form = next((each for each in _FORMS if {*each["train"]} <= names), None)
    if form is None or not ({*form["test"]} <= names or {*form["val"]} <= names):
        raise DataError(
            f"`data.name`: {str(file)!r} must hold x_train, y_train, x_test and y_test, or train_images, train_labels, "
            f"test_images and test_labels; it holds {', '.join(sorted(names)) or 'nothing'}: name "
            "them so with numpy.savez"
        )
    tested = "test" if {*form["test"]} <= names else "val"
    spare = form["val"][0] if tested == "test" and form["val"][0] in names else None
    stat, size = file.stat(), data.image_size
    return Origin(
        facts=[str(file), stat.st_size, stat.st_mtime_ns, size, data.allow_missing_test_classes],
        decode=lambda: _decode(file, (form["train"], form[tested]), data),
        left_out=(LeftOut(spare, _length(file, spare), "in neither train nor test"),) if spare else (),
    )


def _names(file: Path) -> set[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"`data.name`: {str(file)!r} is not an .npz file ({in_one_line(error)}); write it with numpy.savez"
        ) from error


def _length(file: Path, name: str) -> int:
    """The length of an array, read from its header."""
    with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as member:
        try:
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[np.lib.format.read_magic(member)]
            shape, _, _ = read_header(member)
        except (ValueError, KeyError):
            return 0
    return shape[0] if shape else 0


def _decode(file: Path, names: tuple[tuple[str, str], tuple[str, str]], data: Data) -> Decoded:
    read = [(_images(file, images, data.image_size), _labels(file, labels)) for images, labels in names]
    for (pixels, labels), (images, of_images) in zip(read, names, strict=True):
        if len(pixels) != len(labels):
            raise DataError(
                f"`data.name`: {str(file)!r} must have a label for each image; {images} has {len(pixels)} images, "
                f"{of_images} {len(labels)} labels: write both again"
            )
    (train, train_labels), (test, test_labels) = read
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"`data.image_size` must be given when image sizes differ; {names[0][0]} of {str(file)!r} is of shape "
            f'{train.shape[1:]}, {names[1][0]} of {test.shape[1:]}: SET="data.image_size=32"'
        )
    values = in_order({*train_labels, *test_labels})
    number = {value: label for label, value in enumerate(values)}
    splits = [np.array([number[value] for value in some], np.int64) for some in (train_labels, test_labels)]
    check_classes(repr(str(file)), values, splits[0], splits[1], data.allow_missing_test_classes)
    return Decoded(_called(file, values), Split(train, splits[0]), Split(test, splits[1]))


def _array(file: Path, name: str) -> NDArray[Any]:
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo(f"{name}.npy").file_size > psutil.virtual_memory().available:
                raise MemoryError  # before a small file has unpacked to what the system would kill for
        with np.load(file, allow_pickle=False) as arrays:
            return arrays[name]
    except MemoryError as error:
        raise DataError(f"`data.name`: {name} of {str(file)!r} does not fit into memory") from error
    except Exception as error:  # for damaged files zipfile, zlib and NumPy raise many types of errors
        raise DataError(
            f"`data.name`: {name} of {str(file)!r} cannot be read ({in_one_line(error)}); write it again, as plain "
            "numbers"
        ) from error


def _images(file: Path, name: str, image_size: int | None) -> Pixels:
    images = _array(file, name)
    said = f"`data.name`: {name} of {str(file)!r} must be"
    if images.dtype != np.uint8:
        values = f" from {images.min():.4g} to {images.max():.4g}" if images.dtype.kind in "uif" and images.size else ""
        raise DataError(f"{said} uint8 from 0 to 255; got {images.dtype}{values}: scale it, round it, .astype('uint8')")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        raise DataError(f"{said} (N, H, W, channels); got {images.shape}: transpose it, .transpose(0, 2, 3, 1)")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)) or not images.size:
        raise DataError(f"{said} (N, H, W) or (N, H, W, 1 or 3), with images in it; got {images.shape}")
    pixels = images if images.ndim == 4 else images[..., None]
    return resized(pixels, image_size) if image_size and pixels.shape[1:3] != (image_size, image_size) else pixels


def _labels(file: Path, name: str) -> list[str]:
    labels = _array(file, name)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "uiU":
        raise DataError(
            f"`data.name`: {name} of {str(file)!r} must be whole numbers or texts, one an image; got {labels.dtype} of "
            f"shape {labels.shape}" + (": .argmax(1) makes numbers of rows" if labels.ndim == 2 else "")
        )
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise DataError(f"`data.name`: labels must be 0 or more; {name} of {str(file)!r} has {labels.min()}")
    return [str(value) for value in labels.tolist()]


def _called(file: Path, values: tuple[str, ...]) -> tuple[str, ...]:
    if "classes" not in _names(file):
        called = values
    else:
        known = _array(file, "classes")
        if known.ndim != 1 or known.dtype.kind != "U" or not all(v.isdigit() and int(v) < len(known) for v in values):
            raise DataError(
                f"`data.name`: classes of {str(file)!r} must be texts, one for each label from 0 on; got "
                f"{known.dtype} of shape {known.shape} for labels up to {values[-1]}"
            )
        called = tuple(str(known[int(value)]) for value in values)
    if not all(name.isprintable() and name for name in called) or len({*called}) < len(called):
        raise DataError(f"`data.name`: classes of {str(file)!r} need names of their own, of printable characters")
    return called
