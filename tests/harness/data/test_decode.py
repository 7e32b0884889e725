"""`decode_folder`: which files count, how they become pixels, and what a bad image's error says."""

import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from harness.data.decode import Decoded, decode_folder
from harness.data.folders import DataError, list_folder
from tests.harness.data.conftest import RED, save


def decoded(path: Path, image_size: int | None = None) -> Decoded:
    return decode_folder(list_folder(path), image_size)


@pytest.mark.parametrize("ending", ["png", "webp", "bmp", "tif", "TIFF"])
def test_every_format_gives_its_pixels(folder: Path, ending: str) -> None:
    """A file of each lossless format comes back pixel by pixel."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    options: dict[str, Any] = {"lossless": True} if ending == "webp" else {}
    Image.fromarray(pixels).save(folder / "train" / "a" / f"2.{ending}", **options)
    np.testing.assert_array_equal(decoded(folder).train.images[1], pixels)


def test_grey_only_stays_one_channel(folder: Path) -> None:
    """Greyscale, grey with alpha and black-and-white files, and no others, give one channel."""
    for number, mode in enumerate(("L", "LA", "1")):
        for file in (folder / "train" / "a" / f"{number}.png", folder / "train" / "a" / "1.png"):
            save(file, mode, colour={"L": 100, "LA": (100, 255), "1": 1}[mode])
    for file in folder.glob("*/?/1.png"):
        save(file, "L", colour=50)
    images = decoded(folder).train.images
    assert images.shape == (4, 8, 8, 1)
    assert images[:, 0, 0, 0].tolist() == [100, 50, 255, 50]


def test_one_colour_image_makes_all_rgb(folder: Path) -> None:
    """Grey, palette and CMYK files become RGB when any image is not grey."""
    save(folder / "train" / "a" / "1.png", "L", colour=100)
    Image.new("RGB", (8, 8), RED).quantize(4).save(folder / "train" / "a" / "3.png")
    save(folder / "train" / "a" / "4.jpg", "CMYK", colour=(0, 0, 0, 255))
    both = decoded(folder)
    assert both.train.images[:, 0, 0].tolist() == [[100] * 3, list(RED), [0, 0, 0], list(RED)]
    assert both.remarks == ()


def test_transparent_pixels_are_composited_on_white(folder: Path) -> None:
    """By their share: colour that is hidden does not come out; how many images it concerns is said, opaque ones not."""
    save(folder / "train" / "a" / "1.png", "RGBA", colour=(1, 2, 3, 0))
    save(folder / "train" / "a" / "2.webp", "RGBA", colour=(0, 100, 200, 51), lossless=True)
    palette = Image.new("RGB", (8, 8), RED).quantize(4)
    palette.save(folder / "train" / "a" / "3.png", transparency=bytes(4))
    save(folder / "train" / "a" / "4.png", colour=(5, 6, 7), transparency=(5, 6, 7))
    save(folder / "train" / "a" / "5.tif", "RGBA", colour=(1, 2, 3, 255))
    both = decoded(folder)
    white = [255, 255, 255]
    assert both.train.images[:, 0, 0].tolist() == [white, [204, 224, 244], white, white, [1, 2, 3], list(RED)]
    assert both.remarks == ("4 images with transparent pixels were composited on white",)


def test_grey_with_alpha_stays_grey(folder: Path) -> None:
    """White is grey: a transparent grey image gives one channel, where all others do."""
    for file in folder.glob("*/?/1.png"):
        save(file, "LA", colour=(100, 0))
    assert decoded(folder).train.images[:, 0, 0].tolist() == [[255], [255]]


def test_grey_in_train_alone_is_rgb(folder: Path) -> None:
    """Channels are decided over both splits: grey training images beside colour test images have three."""
    for file in folder.glob("train/?/1.png"):
        save(file, "L", colour=50)
    both = decoded(folder)
    assert both.train.images.shape == both.test.images.shape == (2, 8, 8, 3)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_applied(folder: Path, ending: str) -> None:
    """Each orientation turns or mirrors the pixels as the standard says, once, and it is said of how many."""
    ways = (
        None,
        "FLIP_LEFT_RIGHT",
        "ROTATE_180",
        "FLIP_TOP_BOTTOM",
        "TRANSPOSE",
        "ROTATE_270",
        "TRANSVERSE",
        "ROTATE_90",
    )
    upright = Image.fromarray(np.kron([[0, 255], [90, 180]], np.ones((4, 6))).astype(np.uint8)).convert("RGB")
    for orientation, way in enumerate(ways, 1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(ending, {})
        for place in ("train/a", "train/b", "test/a", "test/b"):
            shutil.rmtree(folder / place)
            (folder / place).mkdir()
            upright.save(folder / place / f"1.{ending}", exif=exif, **options)
        expected = upright.transpose(Image.Transpose[way]) if way else upright
        found = decoded(folder)
        np.testing.assert_allclose(found.train.images[0], np.asarray(expected).astype(float), atol=3)
        assert found.remarks == (("4 images were turned as the EXIF orientation says",) if way else ())


def test_a_turned_size_is_the_one_that_is_compared(folder: Path) -> None:
    """A portrait beside images that lie, with a tag that turns it, is of their size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for file in folder.glob("*/?/1.png"):
        save(file, size=(12, 8))
    save(folder / "test" / "b" / "2.jpg", size=(8, 12), exif=exif)
    assert decoded(folder).test.images.shape == (3, 8, 12, 3)


def test_mixed_sizes_name_two_files(folder: Path) -> None:
    """Without image_size, the error names both files and sizes, and the option; with it, all are resized."""
    save(folder / "test" / "b" / "2.png", size=(10, 6))
    with pytest.raises(DataError) as caught:
        decoded(folder)
    assert str(caught.value) == (
        f"`data.image_size` must be given when image sizes differ; in '{folder}' 'train/a/1.png' is 8x8, "
        "'test/b/2.png' is 10x6: SET=\"data.image_size=32\""
    )
    assert decoded(folder, 16).test.images.shape == (3, 16, 16, 3)


def test_resizing_is_bilinear(folder: Path) -> None:
    """image_size gives PIL's bilinear resize of the RGB pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "train" / "a" / "1.png")
    expected = Image.fromarray(pixels).resize((9, 9), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decoded(folder, 9).train.images[0], np.asarray(expected))


def test_many_large_images_keep_their_places(folder: Path) -> None:
    """Over several chunks and threads every image lands at its own index."""
    for index in range(150):
        save(folder / "train" / "a" / f"{index:03}.png", size=(80, 60), colour=(index, 0, 0))
    for file in folder.glob("*/?/1.png"):
        save(file, size=(80, 60), colour=(255, 0, 0))
    images = decoded(folder).train.images
    assert images.shape == (152, 60, 80, 3)
    assert images[:, 0, 0, 0].tolist() == [*range(100), 255, *range(100, 150), 255]  # 1.png sorts before 100.png


def bomb(path: Path) -> None:
    save(path, "1", size=(9600, 9600), colour=0)


def several(path: Path, kind: str) -> None:
    pages = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (1, 200)]
    pages[0].save(path, kind, save_all=True, append_images=pages[1:])


def deep(path: Path, ending: str, channels: int) -> None:
    """16 bits a channel, which PIL reads and cannot write."""
    path.write_bytes(cv2.imencode(ending, np.full((8, 8, channels), 40_000, np.uint16))[1].tobytes())


def png(width: int, height: int, colour: int, pixels: bytes) -> bytes:
    """A PNG by its parts, which PIL would not write so."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def truncated(path: Path, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(path, kind)
    path.write_bytes(path.read_bytes()[:-200])


NONE = "it is none of JPEG, PNG, WEBP, BMP, TIFF"


DEEP = "its pixels have more than 8 bits a channel"


BAD_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated JPEG": (lambda path: truncated(path, "JPEG"), r"image file is truncated \(\d+ bytes not processed\)"),
    "truncated PNG": (lambda path: truncated(path, "PNG"), "image file is truncated"),
    "truncated WebP": (lambda path: truncated(path, "WEBP"), ".+"),
    "truncated BMP": (lambda path: truncated(path, "BMP"), r"image file is truncated \(\d+ bytes not processed\)"),
    "text": (lambda path: path.write_text("<html>"), NONE),
    "empty file": (lambda path: path.write_bytes(b""), NONE),
    "GIF in disguise": (lambda path: save(path, format="GIF"), NONE),
    "16 bits": (lambda path: save(path, "I;16", colour=9, format="PNG"), DEEP),
    "16 bits of RGB": (lambda path: deep(path, ".png", 3), DEEP),
    "16 bits of RGBA": (lambda path: deep(path, ".png", 4), DEEP),
    "16 bits in a TIFF": (lambda path: deep(path, ".tif", 3), DEEP),
    "16 bits of grey in a TIFF": (lambda path: deep(path, ".tif", 1), DEEP),
    "floats": (lambda path: save(path, "F", colour=0.5, format="TIFF"), DEEP),
    "two pages": (lambda path: several(path, "TIFF"), "it holds several images, not one"),
    "animated PNG": (lambda path: several(path, "PNG"), "it holds several images, not one"),
    "animated WebP": (lambda path: several(path, "WEBP"), "it holds several images, not one"),
    "claims of a PNG": (
        lambda path: path.write_bytes(png(9000, 9000, 2, bytes(200))),
        r"its header claims 9000x9000, more than its \d+ bytes can hold",
    ),
    "no palette": (lambda path: path.write_bytes(png(8, 8, 3, bytes(72))), "its palette is missing"),
    "a line": (
        lambda path: path.write_bytes(png(40_000, 1, 0, bytes(40_001))),
        "it is 40000x1, and no side may be above 32768 pixels",
    ),
    "bomb": (lambda path: bomb(path), r"Image size \(92160000 pixels\) exceeds limit.*decompression bomb.*"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_image_is_one_line_that_names_it(folder: Path, kind: str) -> None:
    """Each way to be undecodable names the file, the reason and the next step, even if truncated files are allowed."""
    make, reason = BAD_IMAGES[kind]
    make(folder / "test" / "b" / "bad one.png")
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with pytest.raises(DataError) as caught:
            decoded(folder)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    start = f"`data.name`: 'test/b/bad one.png' of '{folder}' cannot be decoded "
    assert re.fullmatch(rf"{re.escape(start)}\({reason}\); replace or remove it", str(caught.value))


def test_all_damaged_images_are_named_at_once(folder: Path) -> None:
    """Two of them in one line, in order, with what is wrong with each; of many ten, and that there may be more."""
    (folder / "test" / "b" / "2.png").write_text("<html>")
    truncated(folder / "train" / "a" / "1.png", "BMP")
    with pytest.raises(DataError) as caught:
        decoded(folder)
    assert re.fullmatch(
        rf"`data.name`: 2 images of '{folder}' cannot be decoded: 'test/b/2.png' \({NONE}\), 'train/a/1.png' \(image "
        r"file is truncated \(\d+ bytes not processed\)\); replace or remove them",
        str(caught.value),
    )
    for number in range(300):
        (folder / "train" / "a" / f"x{number:03}.png").write_text("x")
    with pytest.raises(DataError, match=rf"^`data.name`: at least 10 images of '{folder}' cannot be dec") as caught:
        decoded(folder)
    assert str(caught.value).count(NONE) + str(caught.value).count("truncated") == 10


def test_a_folder_of_damaged_images_alone(folder: Path) -> None:
    """Nothing says how large the images are; the line is the same."""
    for file in folder.glob("*/?/1.png"):
        file.write_text("x")
    with pytest.raises(DataError, match=r"^`data.name`: 4 images of '.*' cannot be decoded: 'test/a/1.png' "):
        decoded(folder)


def test_images_too_large_for_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the arrays do not fit in memory the error says how large they are and which option makes them smaller."""

    def too_large(*_: object) -> None:
        raise MemoryError

    listed = list_folder(folder)
    monkeypatch.setattr(np, "empty", too_large)
    with pytest.raises(DataError, match=r"^`data.image_size` must be smaller: 4 images need 0 GB$"):
        decode_folder(listed, None)
