"""The data sets known by name: digits, torchvision's sets from local files and downloads, and the hold-out's draw."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.builtin import stratified
from harness.data import DataError, load
from harness.spec import Data

DIGITS_CHECKSUM = "07daad7176f39b9c"
CIFAR_CLASSES = [f"class {label}" for label in range(10)]


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


def idx(array: np.ndarray) -> bytes:
    """The file format of MNIST: a magic number, the shape, the bytes."""
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def mnist_files() -> dict[str, bytes]:
    labels = np.arange(20) % 10
    images = labels[:, None, None] * np.ones((28, 28), int)
    return {
        "train-images-idx3-ubyte": idx(images),
        "train-labels-idx1-ubyte": idx(labels),
        "t10k-images-idx3-ubyte": idx(images[:10]),
        "t10k-labels-idx1-ubyte": idx(labels[:10]),
    }


def write_mnist(raw: Path) -> None:
    raw.mkdir(parents=True)
    for name, content in mnist_files().items():
        (raw / name).write_bytes(content)


def no_network(*_: object, **__: object) -> None:
    raise URLError("no network")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", no_network)
    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", no_network)


def beside_cache(root: Path) -> list[str]:
    """What lies in the data folder, apart from the cache."""
    return sorted(str(path.relative_to(root / "data")) for path in (root / "data").rglob("*") if path.name != "cache")


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
@pytest.mark.usefixtures("offline")
def test_local_mnist_is_read_without_network(tmp_path: Path, name: str, kind: str) -> None:
    """Unpacked files under data/<name> are enough; grey images have one channel, names come from torchvision."""
    write_mnist(tmp_path / "data" / name / kind / "raw")
    dataset = load(Data(name=name), tmp_path)
    assert dataset.train.images.shape == (20, 28, 28, 1)
    assert dataset.test.images.shape == (10, 28, 28, 1)
    assert dataset.train.images[:, 5, 5, 0].tolist() == dataset.train.labels.tolist()
    assert dataset.classes[9] == {"mnist": "9 - nine", "fashion_mnist": "Ankle boot"}[name]
    assert load(Data(name=name, image_size=32), tmp_path).train.images.shape == (20, 32, 32, 1)


@pytest.mark.usefixtures("offline")
def test_no_network_says_where_a_copy_belongs(tmp_path: Path) -> None:
    """One line: the files, their folder, and what works offline; nothing is left in data/."""
    with pytest.raises(DataError) as caught:
        load(Data(name="cifar10"), tmp_path)
    assert str(caught.value) == (
        f"`data.name`: '{tmp_path}/data/cifar10' holds no whole copy of cifar10 and it cannot be downloaded "
        f"(<urlopen error no network>); put cifar-10-python.tar.gz into '{tmp_path}/data/cifar10', "
        "or use DATA=digits or DATA=folder:PATH, which need no network"
    )
    with pytest.raises(DataError) as caught:
        load(Data(name="mnist"), tmp_path)
    assert "\n" not in str(caught.value)
    assert (
        "; put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, "
        f"t10k-labels-idx1-ubyte.gz into '{tmp_path}/data/mnist/MNIST/raw', or use DATA=digits"
    ) in str(caught.value)
    assert beside_cache(tmp_path) == []


@pytest.mark.usefixtures("offline")
def test_local_archives_are_unpacked_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archives that the error line asks for are enough; a half-unpacked file beside them is replaced."""
    from torchvision.datasets import MNIST

    raw = tmp_path / "data" / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    sums = []
    for name, content in mnist_files().items():
        (raw / f"{name}.gz").write_bytes(gzip.compress(content))
        (raw / name).write_bytes(content[:100])
        sums.append((f"{name}.gz", hashlib.md5((raw / f"{name}.gz").read_bytes()).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", sums)
    assert load(Data(name="mnist"), tmp_path).train.images.shape == (20, 28, 28, 1)
    assert (raw / "train-images-idx3-ubyte").read_bytes() == mnist_files()["train-images-idx3-ubyte"]


def test_interrupted_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that breaks off half-way is one line and leaves no file; the next try starts afresh and succeeds."""

    def download(url: str, download_root: str, filename: str, **_: object) -> None:
        name = filename.removesuffix(".gz")
        whole = mnist_files()[name]
        cut = name.startswith("t10k") and not network
        (Path(download_root) / name).write_bytes(whole[:50] if cut else whole)
        if cut:
            raise URLError("timed out")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", download)
    network = False
    with pytest.raises(DataError, match=r"Error downloading t10k-images-idx3-ubyte.gz: Tried .*timed out"):
        load(Data(name="mnist"), tmp_path)
    assert beside_cache(tmp_path) == []
    network = True
    assert load(Data(name="mnist"), tmp_path).test.labels.tolist() == list(range(10))
    assert [name for name in beside_cache(tmp_path) if name.startswith(".")] == []
    assert (tmp_path / "data" / "mnist" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").is_file()


def write_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10's own layout with 20 training and 20 test images, and torchvision told of their MD5."""
    from torchvision.datasets import CIFAR10

    def write(name: str, content: object) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    folder.mkdir(parents=True)
    batch = {"data": np.arange(20 * 3072).reshape(20, 3072).astype(np.uint8), "labels": [*range(10)] * 2}
    monkeypatch.setattr(CIFAR10, "train_list", [write("data_batch_1", batch)])
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", batch)])
    md5 = write("batches.meta", {"label_names": CIFAR_CLASSES})[1]
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": md5})


@pytest.mark.usefixtures("offline")
def test_local_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local CIFAR-10 is read channels last; one changed byte fails its MD5 and it counts as no copy."""
    folder = tmp_path / "data" / "cifar10" / "cifar-10-batches-py"
    write_cifar10(folder, monkeypatch)
    dataset = load(Data(name="cifar10"), tmp_path)
    planes = np.arange(3072).astype(np.uint8).reshape(3, 32, 32)
    np.testing.assert_array_equal(dataset.train.images[0], planes.transpose(1, 2, 0))
    assert dataset.classes == tuple(CIFAR_CLASSES)
    (folder / "test_batch").write_bytes(b"x" + (folder / "test_batch").read_bytes()[1:])
    with pytest.raises(DataError, match="holds no whole copy of cifar10"):
        load(Data(name="cifar10", image_size=16), tmp_path)
