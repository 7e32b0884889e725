"""The data sets known by name: digits, published sets from local files in their formats, and the hold-out's draw."""

import gzip
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data import builtin
from harness.data.builtin import stratified
from harness.data.load import DataError, load
from harness.data.sources import SOURCES, Source
from harness.plans.spec import Data
from tests.harness.published import (
    BATCH,
    CIFAR_CLASSES,
    archives_of,
    cifar10_files,
    mnist_files,
    python2,
    source_of,
    tar_gz,
)

DIGITS_CHECKSUM = "07daad7176f39b9c"


def test_digits_are_pinned(tmp_path: Path) -> None:
    """1,797 images in a stratified 80/20 split, three equal channels, the same pixels on every machine."""
    digits = load(Data(name="digits"), tmp_path)
    assert digits.train.images.shape == (1438, 32, 32, 3)
    assert digits.test.images.shape == (359, 32, 32, 3)
    assert digits.classes == tuple("0123456789")
    assert np.ptp(digits.train.images, axis=3).max() == 0
    assert (digits.train.images.min(), digits.train.images.max()) == (0, 255)
    both = np.concatenate([digits.train.labels, digits.test.labels])
    expected = [round(0.2 * count) for count in np.bincount(both)]
    assert np.bincount(digits.test.labels).tolist() == expected
    assert digits.checksum == DIGITS_CHECKSUM
    assert load(Data(name="digits", image_size=8), tmp_path).train.images.shape == (1438, 8, 8, 3)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.floats(0, 0.5), st.integers(0, 2**63))
def test_stratified_takes_a_rounded_share_of_each_class(labels: list[int], fraction: float, seed: int) -> None:
    """For any labels: round(fraction * count) of each class, the same for the same seed."""
    classes = np.array(labels, np.int64)
    held = stratified(classes, fraction, seed)
    for label in set(labels):
        assert held[classes == label].sum() == round(fraction * labels.count(label))
    np.testing.assert_array_equal(held, stratified(classes, fraction, seed))


def test_stratified_is_pinned() -> None:
    """The draw for a seed never changes: a recorded validation_seed must mean the same images in years."""
    assert np.flatnonzero(stratified(np.arange(20) % 2, 0.3, seed=1)).tolist() == [2, 9, 16, 17, 18, 19]


def publish(monkeypatch: pytest.MonkeyPatch, name: str, source: Source | None = None) -> None:
    """Let small archives be the published ones, at an address where nothing answers."""
    monkeypatch.setitem(SOURCES, name, source or source_of(name, archives_of(name)))


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def beside_cache(root: Path) -> list[str]:
    """What lies in the data folder, apart from the cache and locks."""
    found = sorted(str(path.relative_to(root / "data")) for path in (root / "data").rglob("*"))
    return [name for name in found if name != "cache" and not name.endswith(".lock")]


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
    assert beside_cache(tmp_path) == []


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


def test_a_changed_byte_is_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacked pickles whose MD5 differs are not read."""
    publish(monkeypatch, "cifar10")
    folder = write(tmp_path / "data" / "cifar10", cifar10_files())
    file = folder / "cifar-10-batches-py" / "test_batch"
    file.write_bytes(b"x" + file.read_bytes()[1:])
    with pytest.raises(DataError, match="holds no whole copy of cifar10"):
        load(Data(name="cifar10"), tmp_path)


def test_cifar100_has_a_reader_of_its_own() -> None:
    """Fine labels and fine names, one training file."""
    data = np.zeros((2, 3072), np.uint8)
    batch = python2({b"data": data, b"fine_labels": [1, 0], b"coarse_labels": [5, 5]})
    meta = python2({b"fine_label_names": [b"apple", b"pear"], b"coarse_label_names": [b"fruit"]})
    decoded = builtin._read("cifar100", {"train": batch, "test": batch, "meta": meta})
    assert decoded.classes == ("apple", "pear")
    assert decoded.train.labels.tolist() == [1, 0]


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_what_pickle_itself_makes_of_them(order: str) -> None:
    """The stand-in for NumPy agrees with NumPy, for arrays stored by rows and by columns."""
    array = np.asarray(np.arange(12, dtype=np.uint8).reshape(3, 4), order=order)  # pyright: ignore[reportCallIssue, reportArgumentType]
    content = python2({b"data": array})
    with warnings.catch_warnings():  # Python 2 spelt a dtype's flags as integers
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        expected = pickle.loads(content, encoding="bytes")[b"data"]  # noqa: S301 — made above
    np.testing.assert_array_equal(expected, array)
    np.testing.assert_array_equal(builtin._rows(builtin._unpickle(content)[b"data"]), array)


class Attack:
    """Unpickled without care, this makes a file."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_nothing_in_a_pickle_is_called(tmp_path: Path) -> None:
    """A pickle that would run code is refused by the name that it asks for."""
    attack = pickle.dumps({"data": Attack(tmp_path / "made")}, protocol=4)
    with pytest.raises(pickle.UnpicklingError, match=r"^a pickle in it asks for posix\.mkdir$"):
        builtin._unpickle(attack)
    assert not (tmp_path / "made").exists()
    pickle.loads(attack)  # noqa: S301 — made above
    assert (tmp_path / "made").exists(), "the attack is none"


GOOD = np.zeros((2, 3072), np.uint8)
BAD_BATCHES: list[tuple[object, str]] = [
    ([1, 2], "a pickle in it holds no names"),
    ({b"data": GOOD, b"labels": [0]}, "2 images, 1 labels"),
    ({b"data": GOOD, b"labels": [0, 10]}, "labels 0 to 10 for 10 classes"),
    ({b"data": GOOD, b"labels": [0, -1]}, "labels -1 to 0 for 10 classes"),
    ({b"data": GOOD, b"labels": [b"a", b"b"]}, "2 images, 2 labels"),
    ({b"data": GOOD[:, :3000], b"labels": [0, 1]}, r"cannot reshape array of size \d+ into shape \(3,32,32\)"),
    ({b"data": [1], b"labels": [0, 1]}, "'list' object has no attribute 'state'"),
    ({b"labels": [0, 1]}, "b'data'"),
]


@pytest.mark.parametrize(("batch", "reason"), BAD_BATCHES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_batch_that_is_none_is_one_line(
    tmp_path: Path, batch: object, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even with the right hash: whatever is wrong inside is said in one line that names the copy."""
    files = cifar10_files() | {"cifar-10-batches-py/test_batch": python2(batch)}
    archives = {"cifar-10-python.tar.gz": tar_gz(files)}
    publish(monkeypatch, "cifar10", source_of("cifar10", archives))
    write(tmp_path / "data" / "cifar10", archives)
    line = (
        rf"^`data.name`: the copy of cifar10 in '{tmp_path}/data/cifar10' cannot be read \({reason}\); remove it, and"
    )
    with pytest.raises(DataError, match=line):
        load(Data(name="cifar10"), tmp_path)


BAD_IDX: list[tuple[bytes, str]] = [
    (b"", r"unpack_from requires a buffer of at least 16 bytes.*"),
    (b"\0\0\x08\x01" + bytes(40), "an IDX file of bytes in 3 dimensions begins otherwise"),
    (b"\0\0\x08\x03" + b"\xff" * 12 + bytes(8), r".*"),
    (mnist_files()["t10k-images-idx3-ubyte"][:-1], r"cannot reshape array of size 7839 into shape \(10,28,28\)"),
    (b"\0\0\x08\x03" + bytes(12), "0 images, 10 labels"),
]


@pytest.mark.parametrize(("content", "reason"), BAD_IDX, ids=["empty", "magic", "huge", "cut", "none"])
def test_an_idx_file_that_is_none_is_one_line(
    tmp_path: Path, content: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for MNIST's format: the shape in the file is not believed."""
    archives = archives_of("mnist") | {"t10k-images-idx3-ubyte.gz": gzip.compress(content)}
    publish(monkeypatch, "mnist", source_of("mnist", archives))
    write(tmp_path / "data" / "mnist" / "MNIST" / "raw", archives)
    with pytest.raises(
        DataError, match=rf"^`data.name`: the copy of mnist in '.*' cannot be read \({reason}\); remove it"
    ):
        load(Data(name="mnist"), tmp_path)
