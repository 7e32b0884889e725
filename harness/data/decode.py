"""Decode a folder of JPEG, PNG, WebP, BMP and TIFF files to uint8 arrays.

A folder may come from an untrusted archive, so all problems of images are handled here: decompression bombs, truncated
files, files of another type than their names say, and images with more than 8 bits per channel. The latter are refused,
because their range differs between cameras and scanners, and PIL would silently clip 16-bit grey images and drop the
lower half of 16-bit colour. Caching is done by `harness.data.load`.
"""

import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray

from harness.data.folders import DataError, File, Folder
from harness.data.split import Decoded, Pixels, Split
from harness.values import in_one_line

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""The only decoders that are used; PIL has dozens, one of which runs Ghostscript."""
_GREY_MODES = ("1", "L", "LA")
_LONGEST = 2**15
"""Maximum side length in pixels; PIL limits only the area, and would use 1.8 GB to shrink a line of 89 million."""
_DENSEST = {"PNG": 9000, "JPEG": 9000, "BMP": 150}
"""Maximum number of pixels per byte of a file: slightly above what deflate reaches for 1-bit pixels, far above Huffman
coding of 8x8 blocks, slightly above run lengths. WebP and some TIFFs have no limit for images of a single colour."""
_ORIENTATION = 0x0112
_CHUNK = 64
_MOST_NAMED = 10
_SMALL_PIXELS = 64 * 64
"""Up to this size a single thread is fastest, since threads would only wait for the interpreter lock: on 2 cores one
thread decodes 9,500 CIFAR-10 JPEGs per second, two threads 5,000 to 6,000; at 128x128 two are faster."""
_COMPOSITED = "with transparent pixels {} composited on white"
_TURNED = "{} turned as the EXIF orientation says"


class _Image(NamedTuple):
    """pixels: shape (H, W, 3), uint8; size: the file's width and height after rotation; changes made to the pixels."""

    pixels: Pixels
    grey: bool
    size: tuple[int, int]
    changes: tuple[str, ...]


def decode_folder(folder: Folder, image_size: int | None) -> Decoded:
    """Decode all images of a folder, with 1 channel if all are grey, else 3.

    Images are rotated according to their EXIF orientation, and transparent pixels are composited on white; `remarks`
    says how many images were changed.

    Raises:
        DataError: images cannot be decoded (the message names up to ten), or sizes differ and image_size is None.
    """
    files = [*folder.train, *folder.test]
    images, grey, changes = _Decoder(folder, files, image_size).run()
    if grey.all():
        images = np.ascontiguousarray(images[..., :1])
    labels = np.array([file.label for file in files], np.int64)
    count = len(folder.train)
    remarks = tuple(
        f"{number} image{'s' * (number > 1)} {change.format('were' if number > 1 else 'was')}"
        for change, number in sorted(changes.items())
    )
    train, test = Split(images[:count], labels[:count]), Split(images[count:], labels[count:])
    return Decoded(folder.classes, train, test, remarks)


class _Decoder:
    """Decodes a folder's files into one array, and collects files that cannot be decoded."""

    def __init__(self, folder: Folder, files: list[File], image_size: int | None):
        self.folder, self.files, self.image_size = folder, files, image_size
        self.damaged: dict[str, str] = {}
        self.changes: Counter[str] = Counter()

    def run(self) -> tuple[Pixels, NDArray[np.bool_], Counter[str]]:
        """Pixels, shape (N, H, W, 3); True for grey files, shape (N,); numbers of changed images by kind of change."""
        from PIL import Image, ImageFile
        from tqdm import tqdm

        ImageFile.LOAD_TRUNCATED_IMAGES = False  # PIL's default, which some libraries change
        with warnings.catch_warnings():  # outside the threads, which share one list of filters
            warnings.simplefilter("ignore", UserWarning)  # PIL's, of tags that it cannot read
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            self.first, first = self._first()
            self.size = first.size
            self.images = _empty((len(self.files), *first.pixels.shape))
            self.grey = np.empty(len(self.files), bool)
            threads = 1 if first.size[0] * first.size[1] <= _SMALL_PIXELS else joblib.cpu_count()
            with (
                ThreadPoolExecutor(threads) as pool,
                tqdm(total=len(self.files), desc="decoding", unit="image", mininterval=0.5, disable=None) as bar,
            ):
                for chunk in pool.map(self._decode_chunk, range(0, len(self.files), _CHUNK)):
                    self.changes += chunk
                    bar.update(min(_CHUNK, len(self.files) - bar.n))
        if self.damaged:
            raise self._cannot_be_decoded()
        return self.images, self.grey, self.changes

    def _first(self) -> tuple[File, _Image]:
        """The first file that can be decoded, which determines the size of the array."""
        for file in self.files:
            decoded = self._try(file)
            if decoded:
                return file, decoded
            if len(self.damaged) == _MOST_NAMED:
                break
        raise self._cannot_be_decoded()

    def _decode_chunk(self, start: int) -> Counter[str]:
        changes: Counter[str] = Counter()
        for index, file in enumerate(self.files[start : start + _CHUNK], start):
            if len(self.damaged) >= _MOST_NAMED:
                break
            decoded = self._try(file)
            if decoded is None:
                continue
            if self.image_size is None and decoded.size != self.size:
                raise self._sizes_differ(file, decoded.size)
            self.images[index], self.grey[index] = decoded.pixels, decoded.grey
            changes.update(decoded.changes)
        return changes

    def _try(self, file: File) -> _Image | None:
        try:
            return _decode(self.folder, file, self.image_size)
        except Exception as error:  # for damaged files PIL raises many types: OSError, SyntaxError, struct.error
            said = in_one_line(error)
            unknown = f"it is none of {', '.join(FORMATS)}"
            self.damaged[file.name] = unknown if "cannot identify" in said else said
            return None

    def _cannot_be_decoded(self) -> DataError:
        named = sorted(self.damaged.items())[:_MOST_NAMED]
        if len(named) == 1:
            name, reason = named[0]
            said = f"{name!r} of {str(self.folder.path)!r} cannot be decoded ({reason}); replace or remove it"
        else:
            count = f"{'at least ' * (len(named) == _MOST_NAMED)}{len(named)} images"
            listed = ", ".join(f"{name!r} ({reason})" for name, reason in named)
            said = f"{count} of {str(self.folder.path)!r} cannot be decoded: {listed}; replace or remove them"
        return DataError(f"`data.name`: {said}")

    def _sizes_differ(self, file: File, size: tuple[int, int]) -> DataError:
        return DataError(
            f"`data.image_size` must be given when image sizes differ; in {str(self.folder.path)!r} "
            f"{self.first.name!r} is {self.size[0]}x{self.size[1]}, {file.name!r} is {size[0]}x{size[1]}: "
            'SET="data.image_size=32"'
        )


def _decode(folder: Folder, file: File, image_size: int | None) -> _Image:
    from PIL import Image, ImageOps

    with Image.open(folder.path / file.name, formats=FORMATS) as image:
        _refuse(image, file.bytes)
        changes: list[str] = []
        if image.getexif().get(_ORIENTATION, 1) in range(2, 9):
            ImageOps.exif_transpose(image, in_place=True)
            changes.append(_TURNED)
        if image.has_transparency_data:
            pixels, transparent = _on_white(image)
            changes += [_COMPOSITED] * transparent
        else:
            pixels = image.convert("RGB")
        size = pixels.size
        grey = image.mode in _GREY_MODES
    if image_size:
        pixels = pixels.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return _Image(np.asarray(pixels), grey, size, tuple(changes))


def _refuse(image: "ImageFile", length: int) -> None:
    """Raise ValueError if decoding would need too much memory or lose information; only the header has been read."""
    width, height = image.size
    if max(width, height) > _LONGEST:
        raise ValueError(f"it is {width}x{height}, and no side may be above {_LONGEST} pixels")
    densest = _DENSEST.get(image.format or "")
    if densest and width * height > densest * length:
        raise ValueError(f"its header claims {width}x{height}, more than its {length} bytes can hold")
    if image.mode.startswith(("I", "F")) or (image.format in ("PNG", "TIFF") and ";16" in str(image.tile)):
        raise ValueError("its pixels have more than 8 bits a channel")
    if image.mode == "P" and image.palette is None:
        raise ValueError("its palette is missing")
    if getattr(image, "is_animated", False) and image.format != "MPO":  # MPO: a JPEG with a camera's previews
        raise ValueError("it holds several images, not one")


def _on_white(image: "Image.Image") -> tuple["Image.Image", bool]:
    """The image as RGB, and True if it had transparent pixels."""
    from PIL import Image

    with_alpha = image.convert("RGBA")
    white = Image.new("RGBA", with_alpha.size, "white")
    low, _ = with_alpha.getchannel("A").getextrema()
    return Image.alpha_composite(white, with_alpha).convert("RGB"), low != 255


def _empty(shape: tuple[int, ...]) -> Pixels:
    try:
        return np.empty(shape, np.uint8)
    except MemoryError as error:
        gigabytes = np.prod(shape, dtype=float) / 1e9
        raise DataError(f"`data.image_size` must be smaller: {shape[0]} images need {gigabytes:.0f} GB") from error
