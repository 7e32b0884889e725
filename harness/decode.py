"""The images of a folder of JPEG and PNG files, as uint8 arrays.

A folder may come from a stranger's archive, so whatever can be wrong with it is met here: links that lead out of it,
decompression bombs, files that are cut short, that are not what their names say, or that hold 16-bit pixels (PIL would
clip those in silence). Nothing is cached here; `harness.data` does that.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.spec import HarnessError, nearest

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
Pixels = NDArray[np.uint8]
_GREY_MODES = ("1", "L", "LA")
_CHUNK = 64
_SMALL_PIXELS = 64 * 64
"""Up to this size decoding is so short that threads only wait for the interpreter's lock: on 2 cores one thread decodes
9,500 CIFAR-10 JPEGs a second, two 5,000 to 6,000; at 128x128 two are ahead."""


class DataError(HarnessError):
    """A data set that is missing, incomplete, damaged or at odds with the recipe."""


@dataclass(frozen=True)
class Split:
    """images: (N, H, W, C) uint8; labels: (N,) int64, indices into the data set's classes."""

    images: Pixels
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Decoded:
    """What a source holds, before anything is held out."""

    classes: tuple[str, ...]
    train: Split
    test: Split


class File(NamedTuple):
    """One image file: its name relative to the folder, its label, and what tells that it has changed."""

    name: str
    label: int
    bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Folder:
    """A folder's image files, by split, class and name. Nothing has been opened yet."""

    path: Path
    classes: tuple[str, ...]
    train: tuple[File, ...]
    test: tuple[File, ...]
    ignored: tuple[str, ...]


def list_folder(path: Path) -> Folder:
    """The images under path/train/<class>/ and path/test/<class>/.

    Raises:
        DataError: no such folder or split, classes that differ or are fewer than two, a class without images, or a
            link that leads out of the folder.
    """
    if not path.is_dir():
        near = nearest(path.name, _folder_names(path.parent))
        raise DataError(f"`data.name`: the folder {str(path)!r} does not exist{near or '; check folder:PATH'}")
    path = path.resolve()
    ignored: list[str] = []
    names = {split: _class_names(path, split, ignored) for split in ("train", "test")}
    classes = sorted(names["train"] | names["test"])
    for split in names:
        for missing in sorted(set(classes) - names[split]):
            raise DataError(
                f"`data.name`: train/ and test/ must hold the same classes; {split}/ of {str(path)!r} has no folder "
                f"{missing!r}{nearest(missing, names[split])}"
            )
    if len(classes) < 2:
        raise DataError(
            f"`data.name`: at least 2 classes are needed; {str(path)!r} holds {len(classes)}: put one folder a class "
            "in train/ and in test/"
        )
    files = {
        split: tuple(file for label, name in enumerate(classes) for file in _files(path, split, name, label, ignored))
        for split in names
    }
    return Folder(path, tuple(classes), files["train"], files["test"], tuple(ignored))


def _folder_names(parent: Path) -> list[str]:
    return [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []


def _class_names(root: Path, split: str, ignored: list[str]) -> set[str]:
    if not (root / split).is_dir():
        raise DataError(
            f"`data.name`: {str(root)!r} has no folder {split!r}; images belong in train/<class>/ and test/<class>/"
        )
    _refuse_outside(root, root / split)
    names = set()
    for entry in _scan(root, split):
        if entry.name.startswith(".") or not entry.is_dir():
            ignored.append(f"{split}/{entry.name}")
        else:
            names.add(entry.name)
    return names


def _files(root: Path, split: str, class_name: str, label: int, ignored: list[str]) -> list[File]:
    files = []
    for entry in _scan(root, f"{split}/{class_name}"):
        name = f"{split}/{class_name}/{entry.name}"
        hidden = entry.name.startswith(".")
        if hidden or not entry.name.lower().endswith(IMAGE_ENDINGS) or not entry.is_file():
            ignored.append(name)
        else:
            stat = entry.stat()
            files.append(File(name, label, stat.st_size, stat.st_mtime_ns))
    if not files:
        raise DataError(
            f"`data.name`: every class needs images; {f'{split}/{class_name}'!r} of {str(root)!r} holds no "
            f"{', '.join(IMAGE_ENDINGS)} file"
        )
    return files


def _scan(root: Path, folder: str) -> Iterator[os.DirEntry[str] | Path]:
    """A folder's entries by name. Links come as Paths: unlike an entry's, their questions do not raise in a loop."""
    try:
        with os.scandir(root / folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"`data.name`: {folder!r} of {str(root)!r} cannot be read ({error.strerror})") from error
    for entry in listed:
        if entry.is_symlink():
            _refuse_outside(root, Path(entry.path))
            yield Path(entry.path)
        else:
            yield entry


def _refuse_outside(root: Path, path: Path) -> None:
    if not Path(os.path.realpath(path)).is_relative_to(root):
        raise DataError(
            f"`data.name`: links must stay inside the folder; {str(path.relative_to(root))!r} of {str(root)!r} leads "
            "out of it: copy the files, or remove the link"
        )


def decode_folder(folder: Folder, image_size: int | None) -> Decoded:
    """Every image of a folder, with 1 channel if all are grey, else 3; alpha is dropped, EXIF rotation is not applied.

    Raises:
        DataError: an image that cannot be decoded, or sizes that differ while image_size is None.
    """
    if folder.ignored:
        logging.getLogger(__name__).warning(
            "ignored %d entries of %r that are hidden or no %s file; the first is %r",
            *(len(folder.ignored), str(folder.path), ", ".join(IMAGE_ENDINGS), folder.ignored[0]),
        )
    files = [*folder.train, *folder.test]
    images, grey = _decode_all(folder, files, image_size)
    if grey.all():
        images = np.ascontiguousarray(images[..., :1])
    labels = np.array([file.label for file in files], np.int64)
    count = len(folder.train)
    return Decoded(folder.classes, Split(images[:count], labels[:count]), Split(images[count:], labels[count:]))


def _decode_all(folder: Folder, files: list[File], image_size: int | None) -> tuple[Pixels, NDArray[np.bool_]]:
    """(N, H, W, 3) pixels, and which of the files are grey."""
    from PIL import Image, ImageFile
    from tqdm import tqdm

    ImageFile.LOAD_TRUNCATED_IMAGES = False  # as PIL has it; some libraries turn it on
    with warnings.catch_warnings():  # around the threads, for they share one list of filters
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        first, _, size = _decode(folder, files[0], image_size)
        images = _empty((len(files), *first.shape))
        grey = np.empty(len(files), bool)

        def decode_chunk(start: int) -> int:
            chunk = files[start : start + _CHUNK]
            for index, file in enumerate(chunk, start):
                pixels, grey[index], file_size = _decode(folder, file, image_size)
                if image_size is None and file_size != size:
                    raise DataError(_sizes_differ(folder, files[0], size, file, file_size))
                images[index] = pixels
            return len(chunk)

        threads = 1 if size[0] * size[1] <= _SMALL_PIXELS else os.cpu_count()
        with (
            ThreadPoolExecutor(threads) as pool,
            tqdm(total=len(files), desc="decoding", unit="image", mininterval=0.5) as bar,
        ):
            for done in pool.map(decode_chunk, range(0, len(files), _CHUNK)):
                bar.update(done)
    return images, grey


def _decode(folder: Folder, file: File, image_size: int | None) -> tuple[Pixels, bool, tuple[int, int]]:
    """(H, W, 3) uint8 pixels; whether the file is grey; its own width and height."""
    from PIL import Image

    try:
        # Only these two decoders: PIL has dozens, one of which runs Ghostscript.
        with Image.open(folder.path / file.name, formats=("JPEG", "PNG")) as image:
            mode, size = image.mode, image.size
            if mode.startswith("I"):
                raise ValueError("its pixels have 16 bits, not 8")
            image.info.pop("transparency", None)  # PIL would warn that a palette's alpha is lost
            pixels = image.convert("RGB")
        if image_size:
            pixels = pixels.resize((image_size, image_size), Image.Resampling.BILINEAR)
        return np.asarray(pixels), mode in _GREY_MODES, size
    except Exception as error:  # on a damaged file PIL raises nearly anything: OSError, SyntaxError, struct.error
        reason = "it is not a JPEG or PNG" if "cannot identify" in str(error) else " ".join(str(error).split())
        raise DataError(
            f"`data.name`: {file.name!r} of {str(folder.path)!r} cannot be decoded ({reason}); replace or remove it"
        ) from error


def _sizes_differ(folder: Folder, one: File, size: tuple[int, int], other: File, other_size: tuple[int, int]) -> str:
    return (
        f"`data.image_size` must be given when image sizes differ; in {str(folder.path)!r} {one.name!r} is "
        f'{size[0]}x{size[1]}, {other.name!r} is {other_size[0]}x{other_size[1]}: SET="data.image_size=32"'
    )


def _empty(shape: tuple[int, ...]) -> Pixels:
    try:
        return np.empty(shape, np.uint8)
    except MemoryError as error:
        gigabytes = np.prod(shape, dtype=float) / 1e9
        raise DataError(f"`data.image_size` must be smaller: {shape[0]} images need {gigabytes:.0f} GB") from error
