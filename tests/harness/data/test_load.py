"""`load`: what comes out of it, the hold-out, the statistics and the checksum."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.load import DataError, Duplicates, LeftOut, load
from harness.plans.spec import Data
from harness.values import HarnessError


def make_folder(path: Path, train: int = 10) -> Path:
    """A folder of two classes of random 8x8 PNGs: so many training images and 4 test images a class."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", 4)):
        for name in ("cat", "dog"):
            (path / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(path / split / name / f"{index:02}.png")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "pets")


def test_folder_comes_back_as_written(folder: Path, tmp_path: Path) -> None:
    """Pixels, labels, names and shape of a relative folder:PATH are those of its files, in the order of their names."""
    dataset = load(Data(name="folder:pets"), tmp_path)
    first = np.asarray(Image.open(folder / "train" / "cat" / "00.png"))
    last = np.asarray(Image.open(folder / "test" / "dog" / "03.png"))
    np.testing.assert_array_equal(dataset.train.images[0], first)
    np.testing.assert_array_equal(dataset.test.images[-1], last)
    assert dataset.train.labels.tolist() == [0] * 10 + [1] * 10
    assert (dataset.name, dataset.label, dataset.classes) == ("folder:pets", "pets", ("cat", "dog"))
    assert (dataset.channels, dataset.height, dataset.width) == (3, 8, 8)
    assert dataset.train.images.dtype == np.uint8
    assert dataset.train.labels.dtype == np.int64
    assert dataset.validation is None


def test_home_folder_is_expanded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """folder:~/pets is the one in the user's home; a user without a home is one line."""
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load(Data(name="folder:~/pets"), tmp_path / "project").classes == ("cat", "dog")
    with pytest.raises(HarnessError, match=r"'~nobody_here/x' begins with a user who has no home folder"):
        load(Data(name="folder:~nobody_here/x"), tmp_path)


def test_statistics_are_of_all_training_images(folder: Path, tmp_path: Path) -> None:
    """mean and std are float64 statistics of every training image, 0..1, whatever is held out."""
    dataset = load(Data(name=f"folder:{folder}", validation_fraction=0.3), tmp_path)
    pixels = load(Data(name=f"folder:{folder}"), tmp_path).train.images / 255
    np.testing.assert_allclose(dataset.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, pixels.std((0, 1, 2)), rtol=1e-12)


def test_given_statistics_win_and_must_fit(folder: Path, tmp_path: Path) -> None:
    """data.mean and data.std replace the computed ones; another number of channels is refused with both numbers."""
    given = Data(name=f"folder:{folder}", mean=(0.1, 0.2, 0.3), std=(1.0, 0.2, 0.3))
    assert load(given, tmp_path).mean == (0.1, 0.2, 0.3)
    assert load(given, tmp_path).std == (1.0, 0.2, 0.3)
    message = "`data.mean` and `data.std` must have one number a channel; got 1 for 3 channels of 'pets'"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        load(Data(name=f"folder:{folder}", mean=(0.1,), std=(1.0,)), tmp_path)


OWN = "the images' own are [0.4973,0.5059,0.4899] and [0.2892,0.2901,0.3025], taken where both are left out"


def test_statistics_of_another_scale_are_refused(folder: Path, tmp_path: Path) -> None:
    """CIFAR-10's on the scale 0 to 255, as many write them: the line gives them divided, and the images' own."""
    given = Data(name=f"folder:{folder}", mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7))
    with pytest.raises(DataError) as caught:
        load(given, tmp_path)
    assert str(caught.value) == (
        "`data.mean` and `data.std` are of pixels from 0 to 1; got [125.3,123,113.9] and [63,62.1,66.7]: if they are "
        'of 0 to 255, SET="data.mean=[0.4914,0.4824,0.4467] data.std=[0.2471,0.2435,0.2616]"; ' + OWN
    )


@pytest.mark.parametrize(
    ("mean", "std", "fits"),
    [
        ((0.5, 0.5, 1.01), (0.5, 0.5, 0.5), False),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 1.01), False),
        ((0.5, 0.5, 1.0), (0.5, 0.5, 0.5), False),
        ((0.002, 0.002, 0.002), (0.001, 0.001, 0.001), False),
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), True),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), True),
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), True),
        ((0.1307, 0.1307, 0.1307), (0.3081, 0.3081, 0.3081), True),
    ],
)
def test_absurd_statistics_are_refused_and_usual_ones_taken(
    folder: Path, tmp_path: Path, mean: tuple[float, ...], std: tuple[float, ...], fits: bool
) -> None:
    """Above 1, half the scale away, or divided by 255 twice; none at all, halves, ImageNet's and MNIST's are usual."""
    given = Data(name=f"folder:{folder}", mean=mean, std=std)
    if fits:
        assert load(given, tmp_path).mean == mean
    else:
        with pytest.raises(DataError, match=re.escape(OWN)):
            load(given, tmp_path)


def test_what_is_left_out_or_changed_is_said_every_time(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When images are decoded and when they come from the cache, in the log and on the data set."""
    (folder / "train" / "cat" / "more").mkdir()
    shutil.copy(folder / "train" / "cat" / "00.png", folder / "train" / "cat" / "more")
    Image.new("RGBA", (8, 8), (1, 2, 3, 0)).save(folder / "test" / "dog" / "9.png")
    for _ in range(2):
        dataset = load(Data(name="folder:pets"), tmp_path)
        assert dataset.left_out == (LeftOut("train/cat", 1, "in a folder inside it"),)
        assert dataset.remarks == ("1 image with transparent pixels was composited on white",)
        assert [record.getMessage() for record in caplog.records] == [
            f"left out of '{folder}': 1 file of train/cat (in a folder inside it)",
            "pets: 1 image with transparent pixels was composited on white",
        ]
        caplog.clear()


def test_a_clean_folder_warns_of_nothing(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No line without a reason."""
    load(Data(name="folder:pets"), tmp_path)
    assert caplog.records == []


def test_duplicates_are_counted_once_and_kept(folder: Path, tmp_path: Path) -> None:
    """A repeated training image, one that is tested on, one under two labels; from the cache, and with a hold-out."""
    shutil.copy(folder / "train" / "cat" / "00.png", folder / "train" / "dog" / "x.png")
    shutil.copy(folder / "train" / "cat" / "01.png", folder / "test" / "cat" / "x.png")
    for _ in range(2):
        dataset = load(Data(name="folder:pets", validation_fraction=0.5), tmp_path)
        assert dataset.duplicates == Duplicates(within_train=1, test_in_train=1, two_labels=1)


def test_constant_channel_needs_given_statistics(tmp_path: Path) -> None:
    """A std of 0 would divide by zero when normalising: refused, unless data.std is given."""
    folder = make_folder(tmp_path / "pets", train=1)
    for file in (folder / "train").rglob("*.png"):
        Image.new("RGB", (8, 8), (file.parent.name == "cat", 9, 0)).save(file)
    with pytest.raises(
        DataError, match=r"^`data.std` must be above 0, but all .* of 'pets' are the same in channel 1;"
    ):
        load(Data(name="folder:pets"), tmp_path)
    assert load(Data(name="folder:pets", mean=(0.0,) * 3, std=(1.0,) * 3), tmp_path).std == (1.0, 1.0, 1.0)


def test_hold_out_is_stratified_and_complete(folder: Path, tmp_path: Path) -> None:
    """Each class loses round(fraction * count); no image is lost or in both; the seed alone decides which."""
    whole = load(Data(name=f"folder:{folder}"), tmp_path).train
    first, again, other = (
        load(Data(name=f"folder:{folder}", validation_fraction=0.25, validation_seed=seed), tmp_path)
        for seed in (0, 0, 1)
    )
    assert first.validation is not None
    assert again.validation is not None
    assert other.validation is not None
    assert np.bincount(first.validation.labels).tolist() == [2, 2]
    assert np.bincount(first.train.labels).tolist() == [8, 8]
    parts = np.concatenate([first.train.images, first.validation.images])
    assert {image.tobytes() for image in parts} == {image.tobytes() for image in whole.images}
    assert len(parts) == len(whole.images)
    np.testing.assert_array_equal(first.validation.images, again.validation.images)
    assert not np.array_equal(first.validation.images, other.validation.images)
    assert first.checksum == other.checksum


def test_hold_out_of_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    """A fraction that rounds to no image in every class is an error, not an empty validation split."""
    message = "`data.validation_fraction` 0.01 holds out no image: the largest of 2 classes has 10; raise it, or set 0"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        load(Data(name=f"folder:{folder}", validation_fraction=0.01), tmp_path)


def test_checksum_does_not_depend_on_the_place(folder: Path, tmp_path: Path) -> None:
    """From the cache, from a copy elsewhere with other times, under another label: the same checksum."""
    first = load(Data(name=f"folder:{folder}"), tmp_path).checksum
    copy = Path(shutil.copytree(folder, tmp_path / "elsewhere" / "copy", copy_function=shutil.copyfile))
    assert load(Data(name=f"folder:{folder}", title="other"), tmp_path).checksum == first
    assert load(Data(name=f"folder:{copy}"), tmp_path / "elsewhere").checksum == first
    assert re.fullmatch(r"[0-9a-f]{16}", first)


def test_checksum_sees_a_pixel_a_label_and_a_name(folder: Path, tmp_path: Path) -> None:
    """One pixel, one image's class, a class's name: each changes the checksum."""
    seen = {load(Data(name=f"folder:{folder}"), tmp_path).checksum}
    file = folder / "test" / "cat" / "00.png"
    pixels = np.array(Image.open(file))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(file)
    seen.add(load(Data(name=f"folder:{folder}"), tmp_path).checksum)
    (folder / "train" / "cat" / "09.png").rename(folder / "train" / "dog" / "!.png")  # the order of images stays
    seen.add(load(Data(name=f"folder:{folder}"), tmp_path).checksum)
    for split in ("train", "test"):
        (folder / split / "dog").rename(folder / split / "hound")
    seen.add(load(Data(name=f"folder:{folder}"), tmp_path).checksum)
    assert len(seen) == 4
