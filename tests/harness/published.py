"""Small copies of the published data sets, in their own formats, and a server on this machine that offers them."""

import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from harness.data import published

REAL = published.source
CLOSED = "http://127.0.0.1:9/"
"""An address at which nothing answers."""
CIFAR_CLASSES = [f"class {label}" for label in range(10)]
BATCH = 4


def idx(array: np.ndarray) -> bytes:
    """The file format of MNIST: a magic number, the shape, the bytes."""
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def mnist_files() -> dict[str, bytes]:
    """20 training and 10 test images; all pixels of an image are its label."""
    labels = np.arange(20) % 10
    images = labels[:, None, None] * np.ones((28, 28), int)
    return {
        "train-images-idx3-ubyte": idx(images),
        "train-labels-idx1-ubyte": idx(labels),
        "t10k-images-idx3-ubyte": idx(images[:10]),
        "t10k-labels-idx1-ubyte": idx(labels[:10]),
    }


def python2(value: object) -> bytes:
    """What Python 2's cPickle writes for a dict of lists, numbers, strings and arrays of bytes, with protocol 2."""
    return b"\x80\x02" + _pickled(value) + b"."


def _pickled(value: object) -> bytes:
    match value:
        case bytes():
            head = b"U" + struct.pack("<B", len(value)) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
            return head + value
        case int():
            return b"J" + struct.pack("<i", value)
        case list():
            return b"](" + b"".join(map(_pickled, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_pickled(part) for item in value.items() for part in item) + b"u"
        case np.ndarray():
            empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            shape = b"(" + b"".join(map(_pickled, value.shape)) + b"t"
            by_columns = b"\x88" if value.flags.f_contiguous else b"\x89"
            content = _pickled(value.tobytes("F" if value.flags.f_contiguous else "C"))
            return empty + b"(K\x01" + shape + kind + by_columns + content + b"tb"
        case _:
            raise TypeError(type(value))


def cifar10_files() -> dict[str, bytes]:
    """Five batches and a test batch, each of BATCH images whose pixels count up."""
    batch = {
        b"data": np.arange(BATCH * 3072).reshape(BATCH, 3072).astype(np.uint8),
        b"labels": [*range(BATCH)],
        b"batch_label": b"training batch 1 of 5",
    }
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    meta = {b"label_names": [name.encode() for name in CIFAR_CLASSES], b"num_vis": 3072}
    return {f"cifar-10-batches-py/{name}": python2(batch) for name in names} | {
        "cifar-10-batches-py/batches.meta": python2(meta)
    }


def tar_gz(members: Mapping[str, bytes]) -> bytes:
    """An archive of plain files, the same bytes each time, as long as its content."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(made.getvalue(), compresslevel=0, mtime=0)


def archives_of(name: str) -> dict[str, bytes]:
    """The archives of a small cifar10, or a small mnist or fashion_mnist."""
    if name == "cifar10":
        return {"cifar-10-python.tar.gz": tar_gz(cifar10_files())}
    return {f"{file}.gz": gzip.compress(content, mtime=0) for file, content in mnist_files().items()}


def publish(
    patch: pytest.MonkeyPatch,
    name: str,
    archives: Mapping[str, bytes] | None = None,
    *mirrors: str,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Let small archives, and for CIFAR the files in them, be the published ones, by default where nothing answers."""
    listed = {
        archive: (len(c), hashlib.sha256(c).hexdigest()) for archive, c in (archives or archives_of(name)).items()
    }
    patch.setitem(published.ARCHIVES, name, listed)
    known = REAL(name)
    md5 = {place: hashlib.md5(content).hexdigest() for place, content in (files or cifar10_files()).items()}
    changed = replace(known, mirrors=mirrors or (CLOSED,), files={place: md5.get(place) for place in known.files})
    if name == "cifar10":
        by_file = {Path(place).name: known for place, known in md5.items()}
        lists = {
            "train_list": [[f"data_batch_{number}", by_file[f"data_batch_{number}"]] for number in range(1, 6)],
            "test_list": [["test_batch", by_file["test_batch"]]],
            "meta": datasets.CIFAR10.meta | {"md5": by_file["batches.meta"]},
        }
        changed = replace(changed, kind=type("CIFAR10", (datasets.CIFAR10,), lists))
    patch.setattr(published, "source", lambda asked: changed if asked == name else REAL(asked))


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing; remembers what it was asked for."""

    asked: list[str] | None = None

    def log_message(self, format: str, *args: object) -> None:
        if self.asked is not None and self.command:
            self.asked.append(self.path)


@contextmanager
def serving(
    folder: Path, handler: type[SimpleHTTPRequestHandler] = Quiet, asked: list[str] | None = None
) -> Iterator[str]:
    """A web server on this machine that offers a folder's files, at the address given; adds to `asked` what was."""
    kind = type("Asked", (handler,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def offered(folder: Path, name: str) -> Path:
    folder.mkdir()
    for file, content in archives_of(name).items():
        (folder / file).write_bytes(content)
    return folder


def left(folder: Path) -> list[str]:
    """Every file under a folder but locks."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix != ".lock")


TAR = "cifar-10-python.tar.gz"
