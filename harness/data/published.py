"""CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST, read by torchvision from archives that are verified first.

torchvision checks only an MD5 before unpickling. Here an archive is downloaded to a temporary file and must have the
published length and SHA-256 before it is unpacked to a temporary folder for torchvision. A copy that is already
unpacked in data/<name>/, in torchvision's layout, is read if its pickles have the MD5 sums listed by torchvision; IDX
files contain only numbers.

SHA-256 of CIFAR's archives from Keras (`keras.datasets.cifar10` and `cifar100`: file_hash), of MNIST's and
Fashion-MNIST's from torchvision 0.12 (`prototype.datasets`). Lengths from public loaders that check them together with
the same hashes. Addresses, folders, MD5 sums and class names are those of the torchvision that is installed.

CIFAR: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. MNIST: LeCun, Cortes and Burges,
1998. Fashion-MNIST: Xiao et al. 2017, arXiv:1708.07747.
"""

import errno
import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from harness.data.folders import DataError
from harness.data.split import Decoded, Split, resized
from harness.values import in_one_line

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10, MNIST

STALL_SECONDS = 30.0
"""A download without data for this time counts as failed."""
_CHUNK = 2**16
ARCHIVES: dict[str, dict[str, tuple[int, str]]] = {
    "cifar10": {
        "cifar-10-python.tar.gz": (170_498_071, "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),
    },
    "cifar100": {
        "cifar-100-python.tar.gz": (169_001_437, "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"),
    },
    "mnist": {
        "train-images-idx3-ubyte.gz": (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        "train-labels-idx1-ubyte.gz": (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        "t10k-images-idx3-ubyte.gz": (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        "t10k-labels-idx1-ubyte.gz": (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte.gz": (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        "train-labels-idx1-ubyte.gz": (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        "t10k-images-idx3-ubyte.gz": (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        "t10k-labels-idx1-ubyte.gz": (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    },
}
"""Data set → archive → (length in bytes, SHA-256)."""


@dataclass(frozen=True)
class Source:
    """A data set in torchvision. place: subfolder of the archives. mirrors: base addresses of the archives. files: path
    of each unpacked file that is read → its MD5, or None for IDX files."""

    kind: "type[CIFAR10] | type[MNIST]"
    place: str
    mirrors: tuple[str, ...]
    files: Mapping[str, str | None]


def source(name: str) -> Source:
    from torchvision import datasets

    if name.startswith("cifar"):
        cifar = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
        listed = [*cifar.train_list, *cifar.test_list, [cifar.meta["filename"], cifar.meta["md5"]]]
        files = {f"{cifar.base_folder}/{file}": md5 for file, md5 in listed}
        return Source(cifar, ".", (cifar.url.removesuffix(cifar.filename),), files)
    mnist = datasets.MNIST if name == "mnist" else datasets.FashionMNIST
    raw = f"{mnist.__name__}/raw"
    return Source(mnist, raw, tuple(mnist.mirrors), {f"{raw}/{Path(a).stem}": None for a, _ in mnist.resources})


def decode_published(name: str, folder: Path, image_size: int | None) -> Decoded:
    """Decode cifar10, cifar100, mnist or fashion_mnist from `folder`; if it has no intact copy, download one first.

    Raises:
        DataError: there is no intact copy and it cannot be downloaded (the message says where to put one), or its
            content is not images and labels.
    """
    known, cache = source(name), folder.parent / "cache"  # the folder itself may be a link to a shared one
    folder = folder.resolve()
    decoded = _unpacked(known, folder, cache) or _archived(name, known, folder, cache)
    if image_size is None:
        return decoded
    train, test = (Split(resized(split.images, image_size), split.labels) for split in (decoded.train, decoded.test))
    return Decoded(decoded.classes, train, test)


def _unpacked(known: Source, folder: Path, cache: Path) -> Decoded | None:
    """The unpacked copy in `folder`; None if it is not intact, so that the archive is used instead."""
    with _scratch(cache) as scratch:
        for place, md5 in known.files.items():
            file, link = folder / place, scratch / place
            if not file.is_file() or (md5 and hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != md5):
                return None
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)  # only checked files, not an old processed/training.pt
        try:
            return _read(known.kind, scratch)
        except Exception:  # damaged files may raise anything
            return None


def _archived(name: str, known: Source, folder: Path, cache: Path) -> Decoded:
    """The data set in the archives in `folder`; missing or damaged archives are downloaded first."""
    place = folder / known.place
    if not all(_is_whole(name, place / archive) for archive in ARCHIVES[name]):
        _fetch(name, known, folder)
    with _scratch(cache) as scratch:
        try:
            for archive in ARCHIVES[name]:
                _unpack(place / archive, scratch / known.place)
            return _read(known.kind, scratch)
        except Exception as error:  # for damaged files tarfile, zlib and pickle raise many types of errors
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            remedy = "make room there and try again" if full else "remove it, and a fresh one is fetched"
            raise DataError(
                f"`data.name`: the copy of {name} in {str(folder)!r} cannot be read ({in_one_line(error)}); {remedy}"
            ) from error


@contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    """A hidden temporary folder in data/cache/, where leftovers of killed processes are removed."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=cache) as scratch:
        yield Path(scratch)


def _unpack(archive: Path, into: Path) -> None:
    """Unpack an archive; members of a tar file must not leave `into` by name or link, and must not be devices."""
    into.mkdir(parents=True, exist_ok=True)
    if ".tar." in archive.name:
        with tarfile.open(archive) as tar:
            tar.extractall(into, filter="data")
    else:
        with gzip.open(archive) as packed, (into / archive.stem).open("wb") as file:
            shutil.copyfileobj(packed, file)


def _read(kind: "type[CIFAR10] | type[MNIST]", root: Path) -> Decoded:
    with warnings.catch_warnings():  # CIFAR's pickles, written by Python 2, have integer dtype flags
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        train, test = kind(root), kind(root, train=False)
    classes = tuple(train.classes)
    return Decoded(classes, _split(train.data, train.targets, classes), _split(test.data, test.targets, classes))


def _split(data: Any, targets: Any, classes: tuple[str, ...]) -> Split:
    """Convert torchvision's arrays, CIFAR's (N, 32, 32, 3) or MNIST's (N, 28, 28), and labels to a split."""
    images, labels = np.ascontiguousarray(data), np.asarray(targets)
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "ui" or not labels.size:
        raise ValueError(f"{len(images)} images, {len(labels)} labels")
    if not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"labels {labels.min()} to {labels.max()} for {len(classes)} classes")
    return Split(images[..., None] if images.ndim == 3 else images, labels.astype(np.int64))


def _is_whole(name: str, file: Path) -> bool:
    """True if an archive has the published length and SHA-256."""
    length, sha256 = ARCHIVES[name][file.name]
    if not file.is_file() or file.stat().st_size != length:
        return False
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == sha256


def _fetch(name: str, known: Source, folder: Path) -> None:
    """Download the archives that `folder` lacks; one process downloads while others wait."""
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        for archive in ARCHIVES[name]:
            file = folder / known.place / archive
            if not _is_whole(name, file):
                part = folder.with_name(f".{folder.name}-{archive}.part")  # a killed process's file is overwritten
                try:
                    _download(name, known.mirrors, archive, part)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    part.replace(file)
                except OSError as error:
                    raise _missing(name, folder, file.parent, error) from error
                finally:
                    part.unlink(missing_ok=True)


def _missing(name: str, folder: Path, place: Path, error: OSError) -> DataError:
    damaged = [
        archive for archive in ARCHIVES[name] if (place / archive).exists() and not _is_whole(name, place / archive)
    ]
    found = f" ({', '.join(damaged)} there is not as published, by length or SHA-256)" if damaged else ""
    return DataError(
        f"`data.name`: {str(folder)!r} holds no whole copy of {name}{found} and it cannot be downloaded "
        f"({in_one_line(error)}); put {', '.join(ARCHIVES[name])} into {str(place)!r}, or use DATA=digits or "
        "DATA=folder:PATH, which need no network"
    )


def _download(name: str, mirrors: tuple[str, ...], archive: str, part: Path) -> None:
    """Download and verify one archive from the first mirror that has it, into `part`."""
    problems = []
    for mirror in mirrors:
        try:
            _receive(mirror + archive, *ARCHIVES[name][archive], part)
            return
        except (OSError, HTTPException, ValueError) as error:
            problems.append(f"{urlsplit(mirror).netloc}: {in_one_line(error)}")
    raise OSError("; ".join(problems))


def _receive(url: str, length: int, sha256: str, part: Path) -> None:
    from tqdm import tqdm

    archive = url.rsplit("/", 1)[1]
    request = urllib.request.Request(url, headers={"User-Agent": "harness"})
    sha, received = hashlib.sha256(), 0
    with (
        urllib.request.urlopen(request, timeout=STALL_SECONDS) as answer,
        part.open("wb") as file,
        tqdm(total=length, desc=archive, unit="B", unit_scale=True, leave=False, disable=None) as bar,
    ):
        while received <= length and (chunk := answer.read(_CHUNK)):
            received += len(chunk)
            sha.update(chunk)
            bar.update(file.write(chunk))
        file.flush()
        os.fsync(file.fileno())
    if received != length or sha.hexdigest() != sha256:
        raise ValueError(f"what came is not {archive} as published, by length or SHA-256")
