"""The images of a folder of JPEG and PNG files, as uint8 arrays.

A folder may come from a stranger's archive, so whatever can be wrong with an image is met here: decompression bombs,
files that are cut short, that are not what their names say, or that hold 16-bit grey pixels (PIL would clip those in
silence). Nothing is cached here; `harness.data.load` does that.
"""

import logging
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
from numpy.typing import NDArray

from harness.data.folders import IMAGE_ENDINGS, DataError, File, Folder
from harness.data.split import Decoded, Pixels, Split
from harness.values import in_one_line

_GREY_MODES = ("1", "L", "LA")
_LONGEST = 2**15
"""Pixels of a side; PIL limits their product alone, and would take 1.8 GB to shrink a line of 89 million."""
_CHUNK = 64
_SMALL_PIXELS = 64 * 64
"""Up to this size decoding is so short that threads only wait for the interpreter's lock: on 2 cores one thread decodes
9,500 CIFAR-10 JPEGs a second, two 5,000 to 6,000; at 128x128 two are ahead."""


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

        threads = 1 if size[0] * size[1] <= _SMALL_PIXELS else joblib.cpu_count()
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
            if mode == "P" and image.palette is None:
                raise ValueError("its palette is missing")
            if max(size) > _LONGEST:
                raise ValueError(f"it is {size[0]}x{size[1]}, and no side may be above {_LONGEST} pixels")
            image.info.pop("transparency", None)  # PIL would warn that a palette's alpha is lost
            pixels = image.convert("RGB")
        if image_size:
            pixels = pixels.resize((image_size, image_size), Image.Resampling.BILINEAR)
        return np.asarray(pixels), mode in _GREY_MODES, size
    except Exception as error:  # on a damaged file PIL raises nearly anything: OSError, SyntaxError, struct.error
        said = in_one_line(error)
        reason = "it is not a JPEG or PNG" if "cannot identify" in said else said
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
