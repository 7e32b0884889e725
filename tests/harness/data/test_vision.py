"""`torchvision/<name>`: read by torchvision's own classes, from small copies made here; no network."""

import bz2
import hashlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from torchvision import datasets

from harness.data import vision
from harness.data.load import DataError, load
from harness.plans.spec import Data


@pytest.fixture
def svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty training and ten test images where torchvision keeps SVHN, under MD5 sums that it then lists."""
    place = tmp_path / "data" / "torchvision" / "SVHN"
    place.mkdir(parents=True)
    listed = {}
    for split, count in (("train", 20), ("test", 10)):
        pixels = np.random.default_rng(count).integers(0, 256, (32, 32, 3, count), np.uint8)
        labels = np.arange(count).reshape(-1, 1) % 10 + 1  # as published: digit 0 has the label 10
        file = place / f"{split}_32x32.mat"
        scipy.io.savemat(file, {"X": pixels, "y": labels})
        listed[split] = ["unused", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    return place


def test_svhn_is_read_with_its_labels(svhn: Path, tmp_path: Path) -> None:
    """Pixels as they are, digit 0 as class 0."""
    dataset = load(Data(name="torchvision/SVHN"), tmp_path)
    expected = scipy.io.loadmat(svhn / "train_32x32.mat")["X"].transpose(3, 0, 1, 2)
    np.testing.assert_array_equal(dataset.train.images, expected)
    assert dataset.train.labels.tolist() == [(n % 10 + 1) % 10 for n in range(20)]
    assert (dataset.label, dataset.classes) == ("SVHN", tuple("0123456789"))


def test_a_copy_that_fails_its_checksum_is_not_read(svhn: Path, tmp_path: Path) -> None:
    (svhn / "train_32x32.mat").write_bytes((svhn / "train_32x32.mat").read_bytes() + b"x")
    with pytest.raises(DataError) as caught:
        load(Data(name="torchvision/SVHN"), tmp_path)
    assert str(caught.value).startswith(
        f"`data.name`: '{svhn}' holds no whole copy of SVHN that can be read (Dataset not found or corrupted."
    )


def test_grey_images_and_text_of_numbers(tmp_path: Path) -> None:
    """USPS: lines of "label position:value", values from -1 to 1."""
    place = tmp_path / "data" / "torchvision" / "USPS"
    place.mkdir(parents=True)
    for name, count in (("usps.bz2", 20), ("usps.t.bz2", 10)):
        lines = [f"{n % 10 + 1} " + " ".join(f"{at}:{(at % 3) - 1}" for at in range(1, 257)) for n in range(count)]
        (place / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    dataset = load(Data(name="torchvision/USPS", image_size=32), tmp_path)
    assert (dataset.channels, dataset.height, len(dataset.train.labels), len(dataset.classes)) == (1, 32, 20, 10)


def test_a_set_without_a_test_split_is_split_and_says_so(tmp_path: Path) -> None:
    """EuroSAT: colour files by class; images of different sizes need data.image_size."""
    for name in ("Forest", "River"):
        (tmp_path / "data" / "torchvision" / "EuroSAT" / "eurosat" / "2750" / name).mkdir(parents=True)
        for number in range(10):
            file = tmp_path / "data" / "torchvision" / "EuroSAT" / "eurosat" / "2750" / name / f"{number}.jpg"
            Image.new("RGB", (8 + number % 2, 8), (number, 20 * number, 9 * number)).save(file)
    with pytest.raises(
        DataError, match=r"`data\.image_size` must be given when image sizes differ, as those of EuroSAT"
    ):
        load(Data(name="torchvision/EuroSAT"), tmp_path)
    dataset = load(Data(name="torchvision/EuroSAT", image_size=8), tmp_path)
    assert (dataset.classes, np.bincount(dataset.test.labels).tolist()) == (("Forest", "River"), [2, 2])
    said = "EuroSAT has no test split: 20% of each class, drawn once by a fixed seed, are the test images"
    assert dataset.remarks == (said,)


def test_without_a_copy_and_a_network_the_line_says_where_one_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing half downloaded stays to be taken for the whole."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.SVHN, "download", fail)
    place = tmp_path / "data" / "torchvision" / "SVHN"
    with pytest.raises(DataError) as caught:
        load(Data(name="torchvision/SVHN"), tmp_path)
    assert str(caught.value) == (
        f"`data.name`: SVHN is not in '{place}' and cannot be downloaded (no route to host); put there what "
        "torchvision.datasets.SVHN keeps in its root, or remove the folder to have it downloaded"
    )
    assert [path for path in place.parent.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("SVNH", "; did you mean 'SVHN'"),
        ("svhn", "; did you mean 'SVHN'?"),
        ("ImageNet", ""),
        ("LSUN", ""),
        ("CelebA", ""),
    ],
)
def test_other_names_are_refused_and_not_unpickled(tmp_path: Path, name: str, near: str) -> None:
    with pytest.raises(DataError) as caught:
        load(Data(name=f"torchvision/{name}"), tmp_path)
    assert str(caught.value).startswith(
        "`data.name` must be torchvision/ and one of CIFAR10, CIFAR100, Country211, DTD, "
    )
    assert f"without unpickling what nobody has verified; got {name!r}{near}" in str(caught.value)


@pytest.mark.parametrize(("name", "ours"), vision.PUBLISHED.items())
def test_sets_with_known_sha256_take_the_checked_way(tmp_path: Path, name: str, ours: str) -> None:
    """The same cache entry as the set's own name: nothing is unpickled that `published` has not compared."""
    made, direct = (
        vision.origin(Data(name=f"torchvision/{name}"), tmp_path),
        vision.published_origin(ours, Data(name=ours), tmp_path),
    )
    assert made.facts == direct.facts == [ours, None]


def test_every_set_is_torchvisions() -> None:
    assert all(hasattr(datasets, name) for name in (*vision.SETS, *vision.PUBLISHED))
