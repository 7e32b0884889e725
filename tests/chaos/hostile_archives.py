"""Archives that are cut, changed, traversing, or would run code: refused in one line, nothing written, nothing run."""

import gzip
import io
import itertools
import os
import pickle
import random
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from harness.data.load import DataError, load
from harness.plans.spec import Data
from tests.chaos.hostile_world import PROJECT, contents
from tests.chaos.table import Row
from tests.harness.published import archives_of, cifar10_files, mnist_files, publish, python2, serving, tar_gz

TAR = "cifar-10-python.tar.gz"
IMAGES = "train-images-idx3-ubyte"
BATCH = "cifar-10-batches-py/test_batch"
Bad = Callable[[random.Random, Path], Mapping[str, bytes]]
"""A way to make bad archives; the path is a file that would appear if code in them were run, or be written through."""
FIRST = """
import sys
from pathlib import Path
import pytest

from harness.data.load import load
from harness.plans.spec import Data
from tests.harness.published import archives_of, publish

name, root, url = sys.argv[1:]
publish(pytest.MonkeyPatch(), name, archives_of(name), url)
print(load(Data(name=name), Path(root)).checksum)
"""


class Call:
    """Unpickled without care, this calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object):
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def member(kind: bytes, name: str = BATCH, link: str = "", content: bytes = b"", **headers: str) -> Bad:
    """A member of another kind or name in the place of the test batch."""

    def make(draw: random.Random, path: Path) -> Mapping[str, bytes]:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for place, kept in cifar10_files().items():
                info = tarfile.TarInfo(place)
                info.size = len(kept)
                if place == BATCH:
                    info = tarfile.TarInfo(name.format(path=path))
                    info.type, info.linkname, info.pax_headers = kind, link.format(path=path), dict(headers)
                    info.size, kept = len(content), content
                tar.addfile(info, io.BytesIO(kept))
        return {TAR: gzip.compress(made.getvalue(), compresslevel=0)}

    return make


def batch(make: Callable[[Path], bytes]) -> Bad:
    """Another test batch."""
    return lambda draw, path: {TAR: tar_gz(cifar10_files() | {BATCH: make(path)})}


def images(make: Callable[[bytes], bytes]) -> Bad:
    """Other training images of MNIST."""
    return lambda draw, path: archives_of("mnist") | {f"{IMAGES}.gz": gzip.compress(make(mnist_files()[IMAGES]))}


def cut(draw: random.Random, path: Path) -> Mapping[str, bytes]:
    content = archives_of("cifar10")[TAR]
    return {TAR: content[: draw.randrange(len(content) - 1)]}


def flipped(draw: random.Random, path: Path) -> Mapping[str, bytes]:
    content = bytearray(archives_of("cifar10")[TAR])
    content[draw.randrange(10, len(content))] ^= 1 << draw.randrange(8)
    return {TAR: bytes(content)}


def cut_gzip(draw: random.Random, path: Path) -> Mapping[str, bytes]:
    content = archives_of("mnist")[f"{IMAGES}.gz"]
    return archives_of("mnist") | {f"{IMAGES}.gz": content[: draw.randrange(len(content) - 1)]}


def noise(draw: random.Random, path: Path) -> Mapping[str, bytes]:
    return {TAR: draw.randbytes(draw.randrange(3000))}


GOOD = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}
WAYS: tuple[Bad, ...] = (
    *(cut, flipped, cut_gzip, noise),
    member(tarfile.SYMTYPE, link="{path}"),
    member(tarfile.SYMTYPE, link="/etc/passwd"),
    member(tarfile.LNKTYPE, link="/etc/passwd"),
    member(tarfile.LNKTYPE, link="../../../etc/passwd"),
    member(tarfile.CHRTYPE),
    member(tarfile.BLKTYPE),
    member(tarfile.FIFOTYPE),
    member(tarfile.DIRTYPE),
    member(tarfile.REGTYPE, name="../" * 9 + BATCH, content=b"x"),
    member(tarfile.REGTYPE, name="{path}", content=b"x"),
    member(tarfile.REGTYPE, name=f"./{BATCH}/../../{BATCH}", content=b"x"),
    member(tarfile.REGTYPE, name=f"{BATCH}\n", content=b"x"),
    member(tarfile.REGTYPE, content=b"x", size="99999999999"),
    member(tarfile.REGTYPE, content=b"x", path="{path}"),
    member(tarfile.REGTYPE, content=b""),
    batch(lambda path: pickle.dumps(Call(os.mkdir, str(path)))),
    batch(lambda path: pickle.dumps({"data": Call(os.system, f"mkdir {path}")}, protocol=2)),
    batch(lambda path: pickle.dumps(Call(eval, f"__import__('os').mkdir({str(path)!r})"), protocol=0)),
    batch(lambda path: pickle.dumps(Call(exec, f"import os; os.mkdir({str(path)!r})"))),
    batch(lambda path: pickle.dumps(Call(subprocess.check_output, ["mkdir", str(path)]))),
    batch(lambda path: b"cos\nmkdir\n(S" + repr(str(path)).encode() + b"\ntR."),
    batch(
        lambda path: (
            b"\x80\x04\x8c\x05posix\x8c\x05mkdir\x93\x8c" + bytes([len(str(path))]) + str(path).encode() + b"\x85R."
        )
    ),
    batch(lambda path: b"(S" + repr(str(path)).encode() + b"\nios\nmkdir\n."),
    batch(lambda path: b"cnumpy\nload\n(S'/etc/passwd'\ntR."),
    batch(lambda path: b"cnumpy\ndtype\ncnumpy\ndtype\nb."),
    batch(lambda path: pickle.dumps(np.zeros(3, object))),
    batch(lambda path: b""),
    batch(lambda path: b"."),
    batch(lambda path: python2(GOOD)[:-3000]),
    batch(lambda path: python2(GOOD | {b"labels": [0, 10]})),
    batch(lambda path: python2(GOOD | {b"labels": [0, -1]})),
    batch(lambda path: python2(GOOD | {b"labels": [b"a", b"b"]})),
    batch(lambda path: python2(GOOD | {b"data": np.zeros((2, 3071), np.uint8)})),
    batch(lambda path: python2(GOOD | {b"data": np.zeros((3, 3072), np.uint8)})),
    batch(lambda path: python2([1])),
    images(lambda content: b""),
    images(lambda content: content[:-1]),
    images(lambda content: content + b"x"),
    images(lambda content: struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1)),
    images(lambda content: struct.pack(">4I", 0x803, 0, 28, 28)),
    images(lambda content: b"\x00\x00\x0d\x03" + content[4:]),
    images(lambda content: bytes(300 * 2**20)),
)


def rows(count: int, folder: Path) -> Iterator[Row]:
    """So many archives, each twice: as a stranger's under the published name, and as if it were the published one."""
    draw = random.Random(0)
    (folder / "archives").mkdir()
    for known in (False, True):
        wrong = []
        for number, make in zip(range(count), itertools.cycle(WAYS), strict=False):
            root = folder / "archives" / f"{known}{number}"
            problem = refused(make(draw, folder / "archives" / f"run{number}"), root, known)
            wrong += [f"{number}: {problem}"] if problem else []
        left = sorted(path.name for path in (folder / "archives").glob("run*"))
        promise = "even with the published SHA-256 it is" if known else "an archive that is not the published one is"
        yield Row(f"{promise} refused in one line", count, count - len(wrong), "; ".join(wrong[:3]))
        yield Row("nothing in an archive is run or written elsewhere", count, count - len(left), ", ".join(left))
    yield forged(folder / "archives")


def forged(folder: Path) -> Row:
    """A whole archive of the same length, with one pixel changed."""
    files = cifar10_files()
    at = files[BATCH].index(bytes(range(200)))
    files[BATCH] = files[BATCH][:at] + b"\xff" + files[BATCH][at + 1 :]
    assert len(tar_gz(files)) == len(archives_of("cifar10")[TAR])
    if refused({TAR: tar_gz(files)}, folder / "known", known=True, files=files) != "was read":
        return Row("a forgery can be read at all", 1, 0)
    problem = refused({TAR: tar_gz(files)}, folder / "forged", known=False)
    return Row("an archive with one pixel changed is not read", 1, int(problem is None), problem or "")


def refused(
    archives: Mapping[str, bytes], root: Path, known: bool, files: Mapping[str, bytes] | None = None
) -> str | None:
    """What is wrong with how these archives were taken; `known`: their SHA-256 are the published ones.

    files: those whose MD5 are the published ones.
    """
    name, below = ("cifar10", "cifar10") if TAR in archives else ("mnist", "mnist/MNIST/raw")
    place = root / "data" / below
    place.mkdir(parents=True)
    (root / "data" / "cache").mkdir()
    for file, content in archives.items():
        (place / file).write_bytes(content)
    before = contents(root)
    with pytest.MonkeyPatch.context() as patch:
        publish(patch, name, archives if known else archives_of(name), files=files)
        try:
            load(Data(name=name), root)
        except DataError as error:
            said = str(error)
        except BaseException as error:
            return f"raised {error!r}"
        else:
            return "was read"
    changed = [path for path, _ in contents(root).items() ^ before.items()]
    whole = said.startswith("`data.name`: ") and said.isprintable() and len(said) < 1500
    return f"changed {changed}" if changed else None if whole else f"said {said!r}"


def first_downloads(count: int, folder: Path) -> Row:
    """So many processes that find no data set at once: one good copy, nothing beside it, each archive sent once."""
    (folder / "server").mkdir()
    for file, content in archives_of("mnist").items():
        (folder / "server" / file).write_bytes(content)
    asked: list[str] = []
    with serving(folder / "server", asked=asked) as url:
        command = [sys.executable, "-c", FIRST, "mnist", str(folder / "fresh"), url]
        pipe = subprocess.PIPE
        begun = [subprocess.Popen(command, cwd=PROJECT, text=True, stdout=pipe, stderr=pipe) for _ in range(count)]
        ended = [(process.communicate(timeout=600), process.returncode) for process in begun]
    right = [out for (out, _), status in ended if status == 0]
    problems = [err[-200:] for (_, err), status in ended if status]
    if len(set(right)) > 1 or sorted(asked) != sorted(f"/{file}" for file in archives_of("mnist")):
        problems.append(f"{set(right)}, asked for {sorted(asked)}")
    data = folder / "fresh" / "data"
    files = {path.name: path.read_bytes() for path in (data / "mnist").rglob("*") if path.is_file()}
    beside = [path.name for path in data.iterdir() if path.name not in ("mnist", "cache", ".mnist.lock")]
    beside += [path.name for path in (data / "cache").glob(".*")]
    if files != archives_of("mnist") or beside:
        problems.append(f"left {sorted(files)} and {beside}")
    promise = "a first download beside others ends with the one good copy"
    return Row(promise, count, 0 if problems else len(right), "; ".join(problems[:3]))
