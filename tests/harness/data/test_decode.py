"""`decode_folder`: which files count, how they become pixels, and what a bad image's error says."""

import logging
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from harness.data.decode import Decoded, decode_folder
from harness.data.folders import DataError, list_folder

RED = (200, 30, 40)


def save(
    path: Path, mode: str = "RGB", size: tuple[int, int] = (8, 8), colour: object = RED, **options: object
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)  # pyright: ignore[reportArgumentType]
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images: a and b, one each in train and test."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            save(tmp_path / "set" / split / name / "1.png")
    return tmp_path / "set"


def decoded(path: Path, image_size: int | None = None) -> Decoded:
    return decode_folder(list_folder(path), image_size)


def test_endings_hidden_files_and_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Any case of .jpg, .jpeg and .png counts; all else is ignored with one warning line."""
    for name in ("2.JPG", "3.jpeg", "4.PnG"):
        save(folder / "train" / "a" / name)
    for name in (".hidden.png", "notes.txt", "5.gif"):
        (folder / "train" / "b" / name).write_text("x")
    (folder / "train" / "b" / "folder.png").mkdir()
    (folder / "train" / ".cache").mkdir()
    os.mkfifo(folder / "test" / "a" / "pipe.png")
    listed = list_folder(folder)
    assert [file.name for file in listed.train] == [
        *("train/a/1.png", "train/a/2.JPG", "train/a/3.jpeg", "train/a/4.PnG", "train/b/1.png"),
    ]
    assert [file.label for file in listed.train] == [0, 0, 0, 0, 1]
    with caplog.at_level(logging.WARNING):
        decode_folder(listed, None)
    assert [record.getMessage() for record in caplog.records] == [
        f"ignored 6 entries of '{folder}' that are hidden or no .jpg, .jpeg, .png file; the first is 'train/.cache'"
    ]


def test_clean_folder_warns_of_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No warning line without a reason."""
    decoded(folder)
    assert caplog.records == []


def test_grey_only_stays_one_channel(folder: Path) -> None:
    """Greyscale, grey with alpha and black-and-white files, and no others, give one channel."""
    for number, mode in enumerate(("L", "LA", "1")):
        for file in (folder / "train" / "a" / f"{number}.png", folder / "train" / "a" / "1.png"):
            save(file, mode, colour={"L": 100, "LA": (100, 7), "1": 1}[mode])
    for file in folder.glob("*/?/1.png"):
        save(file, "L", colour=50)
    images = decoded(folder).train.images
    assert images.shape == (4, 8, 8, 1)
    assert images[:, 0, 0, 0].tolist() == [100, 50, 255, 50]


def test_one_colour_image_makes_all_rgb(folder: Path) -> None:
    """Grey, RGBA, palette and CMYK files become RGB when any image is not grey; alpha is dropped."""
    save(folder / "train" / "a" / "1.png", "L", colour=100)
    save(folder / "train" / "a" / "2.png", "RGBA", colour=(1, 2, 3, 0))
    palette = Image.new("RGB", (8, 8), RED).quantize(4)
    palette.save(folder / "train" / "a" / "3.png", transparency=b"\x00\x01\x02\x03")
    save(folder / "train" / "a" / "4.jpg", "CMYK", colour=(0, 0, 0, 255))
    first = decoded(folder).train.images[:, 0, 0]
    assert first.tolist() == [[100] * 3, [1, 2, 3], list(RED), [0, 0, 0], list(RED)]


def test_grey_in_train_alone_is_rgb(folder: Path) -> None:
    """Channels are decided over both splits: grey training images beside colour test images have three."""
    for file in folder.glob("train/?/1.png"):
        save(file, "L", colour=50)
    both = decoded(folder)
    assert both.train.images.shape == both.test.images.shape == (2, 8, 8, 3)


def test_exif_rotation_is_ignored(folder: Path) -> None:
    """A photo's orientation tag does not turn its pixels, so sizes are those in the file."""
    exif = Image.Exif()
    exif[0x0112] = 6
    shutil.rmtree(folder)
    for name in ("train/a", "train/b", "test/a", "test/b"):
        save(folder / name / "1.jpg", size=(12, 8), exif=exif)
    assert decoded(folder).train.images.shape == (2, 8, 12, 3)


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


BAD_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated JPEG": (lambda path: truncated(path, "JPEG"), r"image file is truncated \(\d+ bytes not processed\)"),
    "truncated PNG": (lambda path: truncated(path, "PNG"), "image file is truncated"),
    "text": (lambda path: path.write_text("<html>"), "it is not a JPEG or PNG"),
    "empty file": (lambda path: path.write_bytes(b""), "it is not a JPEG or PNG"),
    "GIF in disguise": (lambda path: save(path, format="GIF"), "it is not a JPEG or PNG"),
    "16 bits": (lambda path: save(path, "I;16", colour=9, format="PNG"), "its pixels have 16 bits, not 8"),
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


def test_images_too_large_for_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the arrays do not fit in memory the error says how large they are and which option makes them smaller."""

    def too_large(*_: object) -> None:
        raise MemoryError

    listed = list_folder(folder)
    monkeypatch.setattr(np, "empty", too_large)
    with pytest.raises(DataError, match=r"^`data.image_size` must be smaller: 4 images need 0 GB$"):
        decode_folder(listed, None)
