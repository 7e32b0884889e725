"""Images that are cut, changed, huge or something else: each is refused in one line that names its file."""

import io
import itertools
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from harness.data.decode import decode_folder
from harness.data.folders import DataError, LeftOut, list_folder
from tests.chaos.table import Row

MANY = 200 * 10**6
"""Bytes that a small chunk unpacks to."""
Bad = Callable[[random.Random], bytes]
HEAD = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes, length: int | None = None, crc: int | None = None) -> bytes:
    size, check = len(content) if length is None else length, zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", size) + kind + content + struct.pack(">I", check)


def png(
    width: int = 8, height: int = 8, depth: int = 8, colour: int = 2, pixels: bytes = bytes(200), more: bytes = b""
) -> bytes:
    """A PNG by its parts; colour: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return HEAD + head + more + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def saved(kind: str, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> bytes:
    """Noise, saved by PIL: each time the same."""
    made = io.BytesIO()
    count = size[0] * size[1] * len(mode)
    Image.frombytes(mode, size, random.Random(1).randbytes(count)).save(made, kind)
    return made.getvalue()


def cut(kind: str) -> Bad:
    """Anywhere, but not within the last tenth: a reader may do without the end mark."""
    return lambda draw: saved(kind)[: draw.randrange(len(saved(kind)) * 9 // 10)]


def other_head(draw: random.Random) -> bytes:
    """The first bytes of a PNG, one changed."""
    content = bytearray(saved("PNG"))
    content[draw.randrange(8 + 4 + 4)] ^= 1 + draw.randrange(255)
    return bytes(content)


def packed(kind: bytes, before: bytes) -> bytes:
    return chunk(kind, before + zlib.compress(bytes(MANY)))


WAYS: tuple[Bad, ...] = (
    *(cut("PNG"), cut("JPEG"), cut("WEBP"), cut("BMP"), cut("TIFF"), other_head),
    lambda draw: draw.randbytes(draw.randrange(1, 3000)),
    lambda draw: b"\xff\xd8\xff" + draw.randbytes(500),
    lambda draw: HEAD + draw.randbytes(500),
    *((lambda draw, kind=kind: saved(kind)) for kind in ("GIF", "PPM", "TGA", "ICO", "PCX", "SGI", "JPEG2000", "DDS")),
    lambda draw: b"",
    lambda draw: b"\n",
    lambda draw: b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    lambda draw: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(made) (w) file",
    lambda draw: b"%PDF-1.4\n",
    lambda draw: b"PK\x03\x04" + bytes(100),
    lambda draw: b"#!/bin/sh\ntouch made\n",
    lambda draw: b"cos\nsystem\n(S'touch made'\ntR.",
    lambda draw: png(2**31 - 1, 2**31 - 1),
    lambda draw: png(2**32 - 1, 4),
    lambda draw: png(30_000, 30_000),
    lambda draw: png(9600, 9600, 1, 0, bytes(9600 * 1201)),  # whole, and above PIL's limit
    lambda draw: png(2**20, 1, 8, 0, bytes(2**20 + 1)),
    lambda draw: png(0, 0),
    lambda draw: png(8, 0),
    lambda draw: png(depth=16, colour=0),
    lambda draw: png(depth=3),
    lambda draw: png(colour=5),
    lambda draw: png(colour=3),
    lambda draw: png(pixels=b"\0" * 5),
    lambda draw: png(more=packed(b"iCCP", b"x\0\0")),
    lambda draw: png(more=packed(b"zTXt", b"x\0\0")),
    lambda draw: png(more=packed(b"iTXt", b"x\0\1\0\0\0")),
    lambda draw: HEAD + chunk(b"IHDR", bytes(13)),
    lambda draw: HEAD + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0), length=2**31),
    lambda draw: HEAD + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0), crc=0),
    lambda draw: HEAD + chunk(b"IDAT", zlib.compress(bytes(200))),
    lambda draw: saved("JPEG")[2:],
    lambda draw: saved("JPEG")[:2] + b"\xff\xd9",
)


def rows(count: int, folder: Path) -> Iterator[Row]:
    """So many bad files, one at a time in a good folder; then what a link and a pipe may not do."""
    wrong, root, draw = [], folder / "images", random.Random(0)
    for split, name in itertools.product(("train", "test"), ("a", "b")):
        (root / split / name).mkdir(parents=True)
        (root / split / name / "0.png").write_bytes(saved("PNG", (8, 8)))
    good = {path: path.read_bytes() for path in root.rglob("*.png")}
    for number, make in zip(range(count), itertools.cycle(WAYS), strict=False):
        file = root / ("train", "test")[number % 2] / "b" / ("x.png", "x.JPG", "x y'|.jpeg")[number % 3]
        file.write_bytes(make(draw))
        problem = refused(root, file)
        wrong += [f"{number}: {problem}"] if problem else []
        file.unlink()
    if {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} != good:
        wrong.append("files changed")
    yield Row("a bad image is one line that names it", count, count - len(wrong), "; ".join(wrong[:3]))
    yield links(root, folder)


def refused(root: Path, file: Path) -> str | None:
    """What is wrong with how this file was taken."""
    try:
        decode_folder(list_folder(root), 8)
    except DataError as error:
        said, name = str(error), str(file.relative_to(root))
        return None if repr(name) in said and said.isprintable() and len(said) < 500 else f"said {said!r}"
    except BaseException as error:
        return f"raised {error!r}"
    return "was read"


def links(root: Path, folder: Path) -> Row:
    """Links to files and folders outside, and a pipe with an image's name: refused, or left aside without waiting."""
    (folder / "private").mkdir()
    (folder / "private" / "0.png").write_bytes(saved("PNG", (8, 8)))
    targets = [folder / "private" / "0.png", Path("../../../private/0.png"), folder / "private", Path("/etc/passwd")]
    wrong = []
    for target in targets:
        link = root / "train" / "b" / "link.png" if target.suffix or target.name == "passwd" else root / "train" / "c"
        link.symlink_to(target)
        try:
            list_folder(root)
            wrong.append(f"{target} was followed")
        except DataError as error:
            wrong += [] if "links must stay inside the folder" in str(error) else [str(error)]
        link.unlink()
    os.mkfifo(root / "train" / "b" / "pipe.png")
    if list_folder(root).left_out != (LeftOut("train/b", 1, "a pipe, or a link to nothing"),):
        wrong.append("a pipe counts as an image")
    (root / "train" / "b" / "pipe.png").unlink()
    return Row(
        "no link leads out of a folder of images, no pipe is opened",
        len(targets) + 1,
        len(targets) + 1 - len(wrong),
        "; ".join(wrong),
    )
