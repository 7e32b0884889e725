"""`npz:PATH`: arrays as Keras and MedMNIST name them, and what is wrong with some, in a line."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from harness.data.load import DataError, Dataset, LeftOut, load
from harness.plans.spec import Data


def pixels(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), np.uint8)


def keras(**others: Any) -> dict[str, Any]:
    """Nine grey training images of 8x8 and six test images, of classes 0 to 2."""
    arrays = {"x_train": pixels(9, 8, 8), "y_train": np.arange(9) % 3, "x_test": pixels(6, 8, 8)}
    return arrays | {"y_test": np.arange(6) % 3} | others


COUNTS = (("train", 6), ("val", 4), ("test", 4))


def medmnist(**others: Any) -> dict[str, Any]:
    made = {f"{split}_images": pixels(n, 8, 8, 3) for split, n in COUNTS}
    labels = {
        f"{split}_labels": np.arange(n).reshape(-1, 1) % 2 for split, n in (("train", 6), ("val", 4), ("test", 4))
    }
    return made | labels | others


def read(folder: Path, arrays: dict[str, Any], **fields: Any) -> Dataset:
    np.savez_compressed(folder / "some.npz", **{name: each for name, each in arrays.items() if each is not None})
    return load(Data(name="npz:some.npz", **fields), folder)


def test_keras_names_grey_images(tmp_path: Path) -> None:
    dataset = read(tmp_path, keras())
    np.testing.assert_array_equal(dataset.train.images[..., 0], keras()["x_train"])
    np.testing.assert_array_equal(dataset.test.labels, keras()["y_test"])
    assert (dataset.classes, dataset.channels, dataset.label) == (("0", "1", "2"), 1, "some.npz")
    assert dataset.left_out == ()


def test_medmnist_names_columns_of_labels_and_a_spare_split(tmp_path: Path) -> None:
    """Labels (N, 1); the validation images are left out, and said to be."""
    dataset = read(tmp_path, medmnist())
    np.testing.assert_array_equal(dataset.train.images, medmnist()["train_images"])
    assert dataset.test.labels.tolist() == [0, 1, 0, 1]
    assert dataset.left_out == (LeftOut("val_images", 4, "in neither train nor test"),)


def test_labels_keep_their_values_as_names(tmp_path: Path) -> None:
    """Numbers that do not begin at 0, numbers whose texts sort otherwise, texts, and names in an array of their own."""
    labels = np.array([2, 10, 10, 2, 2, 10, 2, 10, 2])
    assert read(tmp_path, keras(y_train=labels, y_test=labels[:6])).classes == ("2", "10")
    assert read(tmp_path, keras(y_train=labels, y_test=labels[:6])).train.labels[:3].tolist() == [0, 1, 1]
    words = np.array(["owl", "cat"])[np.arange(9) % 2]
    assert read(tmp_path, keras(y_train=words, y_test=words[:6])).classes == ("cat", "owl")
    assert read(tmp_path, keras(classes=np.array(["x", "y", "z"]))).classes == ("x", "y", "z")


def test_images_are_resized_where_that_is_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`data.image_size` must be given when image sizes differ; x_train of "):
        read(tmp_path, keras(x_test=pixels(6, 9, 9)))
    dataset = read(tmp_path, keras(x_test=pixels(6, 9, 9)), image_size=16)
    assert dataset.train.images.shape[1:] == dataset.test.images.shape[1:] == (16, 16, 1)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (keras(x_train=None), "must hold x_train, y_train, x_test and y_test, or train_images, train_labels, "
         "test_images and test_labels; it holds x_test, y_test, y_train: name them so"),
        (keras(x_train=pixels(9, 8, 8) / np.float32(255)), "x_train of '{file}' must be uint8 from 0 to 255; got "
         "float32 from 0 to 1: scale it, round it, .astype('uint8')"),
        (keras(x_train=pixels(9, 3, 8, 8)), "must be (N, H, W, channels); got (9, 3, 8, 8): transpose it, "
         ".transpose(0, 2, 3, 1)"),
        (keras(x_train=pixels(9, 8, 8, 4)), "must be (N, H, W) or (N, H, W, 1 or 3), with images in it; got (9, "),
        (keras(x_train=pixels(8, 8, 8)),
         "'{file}' must have a label for each image; x_train has 8 images, y_train 9 labels"),
        (keras(y_train=np.eye(3)[np.arange(9) % 3]), "y_train of '{file}' must be whole numbers or texts, one an "
         "image; got float64 of shape (9, 3): .argmax(1) makes numbers of rows"),
        (keras(y_train=np.arange(9) % 3 - 1), "labels must be 0 or more; y_train of '{file}' has -1"),
        (keras(y_test=np.arange(6) % 4), "every class needs training images; '{file}' has none of class '3'"),
        (keras(y_test=np.arange(6) % 2), "every class needs test images; '{file}' has none of class '2'; add some, or "
         "set data.allow_missing_test_classes=true"),
        (keras(x_train=np.array([{"a": 1}] * 9, dtype=object)), "x_train of '{file}' cannot be read (Object arrays "
         "cannot be loaded when allow_pickle=False); write it again, as plain numbers"),
        (keras(classes=np.array(["x", "y"])), "classes of '{file}' must be texts, one for each label from 0 on"),
        (keras(classes=np.array(["x", "y", "x"])), "classes of '{file}' need names of their own"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_used_are_one_line(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, arrays)
    assert said.format(file=tmp_path / "some.npz") in str(caught.value)


def test_a_class_may_be_untested_where_that_is_asked(tmp_path: Path) -> None:
    dataset = read(tmp_path, keras(y_test=np.arange(6) % 2), allow_missing_test_classes=True)
    assert (dataset.classes, dataset.test.labels.max()) == (("0", "1", "2"), 1)


def test_what_is_no_npz_is_one_line(tmp_path: Path) -> None:
    """Another file, a damaged one, none."""
    (tmp_path / "some.npz").write_text("x")
    with pytest.raises(DataError, match=r"is not an \.npz file \(File is not a zip file\); write it with numpy\.savez"):
        load(Data(name="npz:some.npz"), tmp_path)
    np.savez(tmp_path / "some.npz", **keras())
    with zipfile.ZipFile(tmp_path / "some.npz", "a") as archive:
        start = archive.getinfo("x_train.npy").header_offset + 200
    content = bytearray((tmp_path / "some.npz").read_bytes())
    content[start : start + 50] = b"\0" * 50
    (tmp_path / "some.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"x_train of .* cannot be read \("):
        load(Data(name="npz:some.npz"), tmp_path)
    with pytest.raises(DataError, match=r"does not exist; did you mean 'some\.npz'\?"):
        load(Data(name="npz:sone.npz"), tmp_path)


def test_what_unpacks_to_more_than_the_free_memory_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is taken for one with a kilobyte left: on a real one the system would kill the command."""
    free = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"^`data.name`: x_train of '.*some.npz' does not fit into memory$"):
        read(tmp_path, keras(x_train=pixels(200, 8, 8), y_train=np.arange(200) % 3))
