"""The published data sets: only true copies are opened, what torchvision reads of them, and what a bad one says."""

import gzip
import io
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from harness.data import published
from harness.data.folders import DataError
from harness.data.load import load
from harness.data.published import ARCHIVES, decode_published
from harness.plans.spec import Data
from tests.harness.published import (
    BATCH,
    CIFAR_CLASSES,
    TAR,
    archives_of,
    cifar10_files,
    left,
    mnist_files,
    offered,
    publish,
    python2,
    serving,
    tar_gz,
)

PROJECT = Path(__file__).parents[3]


def test_every_archive_and_file_is_one_that_torchvision_reads() -> None:
    """The archives with a SHA-256 are those that torchvision downloads; each of CIFAR's pickles has an MD5."""
    kinds = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
    for name, archives in ARCHIVES.items():
        known = published.source(name)
        assert all(re.fullmatch(r"[0-9a-f]{64}", sha256) and length > 0 for length, sha256 in archives.values())
        assert all(mirror.endswith("/") for mirror in known.mirrors)
        if name in kinds:
            assert [known.mirrors[0] + archive for archive in archives] == [kinds[name].url]
            assert all(re.fullmatch(r"[0-9a-f]{32}", str(md5)) for md5 in known.files.values())
        else:
            assert isinstance(known.kind, type)
            assert issubclass(known.kind, datasets.MNIST)
            assert list(archives) == [archive for archive, _ in known.kind.resources]
            assert [Path(file).name for file in known.files] == [Path(archive).stem for archive in archives]
    assert [len(published.source(name).files) for name in ARCHIVES] == [7, 3, 4, 4]
    assert published.source("cifar100").files["cifar-100-python/meta"] == "7973b15100ade9c7d40fb424638fde48"


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("opened")


def test_a_tampered_archive_is_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit off: without network the line says so and nothing unpacks or unpickles it; a good one replaces it."""
    file = tmp_path / "data" / "cifar10" / TAR
    file.parent.mkdir(parents=True)
    content = archives_of("cifar10")[TAR]
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    publish(monkeypatch, "cifar10")
    with monkeypatch.context() as opened:
        opened.setattr(tarfile, "open", refuse)
        opened.setattr(gzip, "open", refuse)
        opened.setattr(pickle, "load", refuse)
        with pytest.raises(DataError) as caught:
            decode_published("cifar10", file.parent, None)
    assert (
        f"holds no whole copy of cifar10 ({TAR} there is not as published, by length or SHA-256) and it cannot"
        in str(caught.value)
    )
    with serving(offered(tmp_path / "server", "cifar10")) as url:
        publish(monkeypatch, "cifar10", None, url)
        decode_published("cifar10", file.parent, None)
    assert file.read_bytes() == content


def changed_member(**changes: object) -> bytes:
    """The archive with its test batch replaced by something else under the same name."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in cifar10_files().items():
            member = tarfile.TarInfo(name)
            if name.endswith("test_batch"):
                for field, value in changes.items():
                    setattr(member, field, value)
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content if member.size else b""))
    return made.getvalue()


WITHOUT = {name: content for name, content in cifar10_files().items() if not name.endswith("test_batch")}


INCOMPLETE = re.escape("Dataset not found or corrupted. You can use download=True to download it")


BAD_TARS: dict[str, tuple[Callable[[], bytes], str]] = {
    "no gzip": (lambda: b"x" * 100, "file could not be opened successfully.*"),
    "truncated": (lambda: tar_gz(cifar10_files())[:-2000], "Compressed file ended.*|unexpected end of data"),
    "no tar": (lambda: archives_of("mnist")["t10k-labels-idx1-ubyte.gz"], "file could not be opened successfully.*"),
    "member missing": (lambda: tar_gz(WITHOUT), INCOMPLETE),
    "another batch": (lambda: tar_gz(cifar10_files() | {"cifar-10-batches-py/test_batch": b"x"}), INCOMPLETE),
    "traversing": (lambda: tar_gz(WITHOUT | {"../cifar-10-batches-py/test_batch": b"x"}), ".*outside the destination"),
    "absolute": (lambda: tar_gz(WITHOUT | {"/cifar-10-batches-py/test_batch": b"x"}), INCOMPLETE),
    "symlink": (lambda: changed_member(type=tarfile.SYMTYPE, linkname="/etc/passwd"), ".*absolute path"),
    "hard link": (lambda: changed_member(type=tarfile.LNKTYPE, linkname="/etc/passwd"), ".*absolute path"),
    "device": (lambda: changed_member(type=tarfile.CHRTYPE, devmajor=1, devminor=5), ".*is a special file"),
    "pipe": (lambda: changed_member(type=tarfile.FIFOTYPE), ".*is a special file"),
    "folder": (lambda: changed_member(type=tarfile.DIRTYPE), INCOMPLETE),
}


@pytest.mark.parametrize("kind", BAD_TARS)
def test_a_bad_archive_is_one_line_even_with_the_right_hash(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No member leaves the scratch folder, no link out of it is followed, and the scratch folder goes."""
    make, reason = BAD_TARS[kind]
    content = make()
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    (folder / TAR).write_bytes(content)
    publish(monkeypatch, "cifar10", {TAR: content})
    with pytest.raises(DataError) as caught:
        decode_published("cifar10", folder, None)
    start = re.escape(f"`data.name`: the copy of cifar10 in '{folder}' cannot be read (")
    assert re.fullmatch(rf"{start}({reason})\); remove it, and a fresh one is fetched", str(caught.value))
    assert left(tmp_path) == ["data", "data/cache", "data/cifar10", f"data/cifar10/{TAR}"]


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_local_mnist_is_read_without_network(
    tmp_path: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unpacked files under data/<name> are enough; grey images have one channel, names are torchvision's."""
    publish(monkeypatch, name)
    write(tmp_path / "data" / name / kind / "raw", mnist_files())
    dataset = load(Data(name=name), tmp_path)
    assert dataset.train.images.shape == (20, 28, 28, 1)
    assert dataset.test.images.shape == (10, 28, 28, 1)
    assert dataset.train.images[:, 5, 5, 0].tolist() == dataset.train.labels.tolist()
    assert dataset.classes[9] == {"mnist": "9 - nine", "fashion_mnist": "Ankle boot"}[name]
    assert load(Data(name=name, image_size=32), tmp_path).train.images.shape == (20, 32, 32, 1)


def test_an_old_processed_copy_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision would prefer a processed/training.pt of its old versions, which nothing checks, to the raw files."""
    publish(monkeypatch, "mnist")
    folder = write(tmp_path / "data" / "mnist" / "MNIST" / "raw", mnist_files()).parent
    (folder / "processed").mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(7, 28, 28, dtype=torch.uint8), torch.zeros(7)), folder / "processed" / name)
    assert len(load(Data(name="mnist"), tmp_path).train.labels) == 20


def test_a_link_to_a_shared_copy_is_read_and_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """data/mnist may be a link: nothing is made beside the copy that it leads to."""
    publish(monkeypatch, "mnist")
    write(tmp_path / "shared" / "mnist" / "MNIST" / "raw", archives_of("mnist"))
    before = left(tmp_path / "shared")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist").symlink_to(tmp_path / "shared" / "mnist")
    assert len(load(Data(name="mnist"), tmp_path).train.labels) == 20
    assert left(tmp_path / "shared") == before


def test_no_network_says_where_a_copy_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line: the files, their folder, and what works offline; nothing is left in data/."""
    refused = "127.0.0.1:9: <urlopen error [Errno 111] Connection refused>"
    publish(monkeypatch, "cifar10")
    with pytest.raises(DataError) as caught:
        load(Data(name="cifar10"), tmp_path)
    assert str(caught.value) == (
        f"`data.name`: '{tmp_path}/data/cifar10' holds no whole copy of cifar10 and it cannot be downloaded "
        f"({refused}); put cifar-10-python.tar.gz into '{tmp_path}/data/cifar10', "
        "or use DATA=digits or DATA=folder:PATH, which need no network"
    )
    publish(monkeypatch, "mnist")
    with pytest.raises(DataError) as caught:
        load(Data(name="mnist"), tmp_path)
    assert "\n" not in str(caught.value)
    assert (
        "; put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, "
        f"t10k-labels-idx1-ubyte.gz into '{tmp_path}/data/mnist/MNIST/raw', or use DATA=digits"
    ) in str(caught.value)
    assert left(tmp_path / "data") == ["cache"]


def test_local_archives_are_read_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archives that the error line asks for are enough, also beside a half-unpacked file; neither is touched."""
    publish(monkeypatch, "mnist")
    raw = write(tmp_path / "data" / "mnist" / "MNIST" / "raw", archives_of("mnist"))
    (raw / "train-images-idx3-ubyte").write_bytes(mnist_files()["train-images-idx3-ubyte"][:100])
    before = {file: file.stat().st_mtime_ns for file in raw.iterdir()}
    assert load(Data(name="mnist"), tmp_path).train.images.shape == (20, 28, 28, 1)
    assert {file: file.stat().st_mtime_ns for file in raw.iterdir()} == before


@pytest.mark.parametrize("packed", [False, True])
def test_local_cifar10(tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 2's pickles are read channels last, from the archive or as torchvision unpacks it."""
    publish(monkeypatch, "cifar10")
    write(tmp_path / "data" / "cifar10", archives_of("cifar10") if packed else cifar10_files())
    dataset = load(Data(name="cifar10"), tmp_path)
    planes = np.arange(3072).astype(np.uint8).reshape(3, 32, 32)
    np.testing.assert_array_equal(dataset.train.images[0], planes.transpose(1, 2, 0))
    assert dataset.train.images.shape == (5 * BATCH, 32, 32, 3)
    assert dataset.test.labels.tolist() == [*range(BATCH)]
    assert dataset.classes == tuple(CIFAR_CLASSES)


def test_cifar100_has_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine labels and fine names, one training file."""
    batch = python2({b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [1, 0], b"coarse_labels": [5, 5]})
    meta = python2({b"fine_label_names": [b"apple", b"pear"], b"coarse_label_names": [b"fruit"]})
    write(tmp_path / "cifar-100-python", {"train": batch, "test": batch, "meta": meta})
    monkeypatch.setattr(datasets.CIFAR100, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda *_: True)
    decoded = published._read(datasets.CIFAR100, tmp_path)
    assert decoded.classes == ("apple", "pear")
    assert decoded.train.labels.tolist() == [1, 0]


class Attack:
    """Unpickled without care, this makes a file."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("packed", [False, True])
def test_an_unpacked_pickle_of_another_content_is_not_unpickled(
    tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch whose MD5 is not the published one is never opened, unpacked or in an archive of the right SHA-256."""
    attack = pickle.dumps({"data": Attack(tmp_path / "made")}, protocol=2)
    files = cifar10_files() | {"cifar-10-batches-py/data_batch_1": attack}
    archives = {TAR: tar_gz(files)}
    publish(monkeypatch, "cifar10", archives if packed else None)
    write(tmp_path / "data" / "cifar10", archives if packed else files)
    with pytest.raises(DataError, match="cannot be read" if packed else "holds no whole copy of cifar10"):
        load(Data(name="cifar10"), tmp_path)
    assert not (tmp_path / "made").exists()
    pickle.loads(attack)  # noqa: S301 — made above
    assert (tmp_path / "made").exists(), "the attack is none"


GOOD = np.zeros((2, 3072), np.uint8)


BAD_BATCHES: list[tuple[object, str]] = [
    ([1, 2], "list indices must be integers or slices, not str"),
    ({b"data": GOOD, b"labels": [0]}, "2 images, 1 labels"),
    ({b"data": GOOD, b"labels": [0, 10]}, "labels 0 to 10 for 10 classes"),
    ({b"data": GOOD, b"labels": [0, -1]}, "labels -1 to 0 for 10 classes"),
    ({b"data": GOOD, b"labels": [b"a", b"b"]}, "2 images, 2 labels"),
    ({b"data": GOOD[:, :3000], b"labels": [0, 1]}, r"cannot reshape array of size \d+ into shape \(3,32,32\)"),
]


@pytest.mark.parametrize(("batch", "reason"), BAD_BATCHES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_batch_that_is_none_is_one_line(
    tmp_path: Path, batch: object, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even with the right hashes: whatever is wrong inside is said in one line that names the copy."""
    files = cifar10_files() | {"cifar-10-batches-py/test_batch": python2(batch)}
    archives = {TAR: tar_gz(files)}
    publish(monkeypatch, "cifar10", archives, files=files)
    write(tmp_path / "data" / "cifar10", archives)
    line = (
        rf"^`data.name`: the copy of cifar10 in '{tmp_path}/data/cifar10' cannot be read \({reason}\); remove it, and"
    )
    with pytest.raises(DataError, match=line):
        load(Data(name="cifar10"), tmp_path)


BAD_IDX: list[tuple[bytes, str]] = [
    (b"", ".*"),
    (b"\0\0\x08\x01" + bytes(40), ".*"),
    (b"\0\0\x08\x03" + b"\xff" * 12 + bytes(8), ".*"),
    (mnist_files()["t10k-images-idx3-ubyte"][:-1], r"shape '\[10, 28, 28\]' is invalid for input of size 7839"),
    (b"\0\0\x08\x03" + bytes(12), ".*"),
    (mnist_files()["t10k-labels-idx1-ubyte"], "x should have 3 dimension instead of 1"),
]


@pytest.mark.parametrize(("content", "reason"), BAD_IDX, ids=["empty", "magic", "huge", "cut", "none", "labels"])
def test_an_idx_file_that_is_none_is_one_line(
    tmp_path: Path, content: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for MNIST's format: the shape in the file is not believed."""
    archives = archives_of("mnist") | {"t10k-images-idx3-ubyte.gz": gzip.compress(content)}
    publish(monkeypatch, "mnist", archives)
    write(tmp_path / "data" / "mnist" / "MNIST" / "raw", archives)
    with pytest.raises(
        DataError, match=rf"^`data.name`: the copy of mnist in '.*' cannot be read \({reason}\); remove it"
    ):
        load(Data(name="mnist"), tmp_path)


def test_a_full_disk_while_unpacking_says_to_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is whole, so it is not the one to remove."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    publish(monkeypatch, "mnist")
    write(tmp_path / "data" / "mnist" / "MNIST" / "raw", archives_of("mnist"))
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(DataError, match=r"\(\[Errno 28\] No space left on device\); make room there and try again$"):
        load(Data(name="mnist"), tmp_path)


def test_reading_published_data_sets_imports_torchvision_late() -> None:
    """Importing the module, as every cached load does, imports neither torch nor torchvision."""
    code = "import sys, harness.data.published; print({'torch', 'torchvision'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
