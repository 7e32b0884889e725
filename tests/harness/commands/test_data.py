"""`make data`: what it prints and draws, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import harness.__main__ as command_line
from harness.__main__ import main
from harness.commands.data import sample
from harness.plans.spec import DATASETS


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with `pets`: grey images in seven unbalanced classes, tested on val/, one in both splits."""
    monkeypatch.setattr(command_line, "ROOT", tmp_path)
    rng = np.random.default_rng(0)
    for split, most in (("train", 8), ("val", 2)):
        for label in range(7):
            folder = tmp_path / "pets" / split / f"class_{label}"
            folder.mkdir(parents=True)
            for number in range(max(1, most - label)):
                pixels = rng.integers(0, 256, (28, 28), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.{('PNG', 'bmp', 'TIFF')[number % 3]}")
    first = tmp_path / "pets" / "train" / "class_0" / "0.PNG"
    (tmp_path / "pets" / "val" / "class_0" / "0.PNG").write_bytes(first.read_bytes())
    (tmp_path / "pets" / "train" / "class_0" / "notes.txt").write_text("x")
    return tmp_path


def test_a_folder_is_described(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files by size, skipped ones with the reason, counts by class and split, repeated images, a picture."""
    assert main(["data", "--data=folder:pets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "files by width x height: 28x28 (43)"
    assert lines[1].startswith("skipped: 1 of train/class_0 (no .jpg, ")
    assert "pets: 35 train, 8 test images of 28x28, 1 channel, as they are trained on" in lines
    assert "class_0           8           2" in lines
    assert "class_6           2           1" in lines
    assert "largest class over smallest, in train: 8 / 2 = 4.0" in lines
    said = "0 within train, 1 test images that are in train too, 0 images under two labels"
    assert f"repeated pixel by pixel: {said}" in lines
    assert "The folder has no test/: its val/ is tested on" in lines
    assert lines[-1] == "sample: reports/out/data/pets.png"
    with Image.open(root / "reports" / "out" / "data" / "pets.png") as picture:
        assert picture.size[0] > 500


def test_sizes_are_shown_even_where_images_cannot_be_read(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images of several sizes: which, then the line that says what to set; set, they are read."""
    Image.new("L", (30, 40)).save(root / "pets" / "train" / "class_0" / "odd.png")
    assert main(["data", "--data=folder:pets"]) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == "files by width x height: 28x28 (43), 30x40 (1)"
    assert printed.err.startswith("error: `data.image_size` must be given when image sizes differ;")
    assert main(["data", "--data=folder:pets", "--set=data.image_size=16"]) == 0
    assert "36 train, 8 test images of 16x16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "DATA must name a data set, as in: make data DATA=folder:PATH"),
        (["--data=digts"], f"`data.name` must be one of {', '.join(DATASETS)}, folder:PATH, "
         "csv:PATH, npz:PATH or torchvision/<name>; got 'digts'; did you mean 'digits'?"),
        (["--data=digits", "--set=epochs=2"], "SET must be of data's fields (name, title, image_size, mean, std, "
         "allow_missing_test_classes, validation_fraction, validation_seed, scored_on), as in data.image_size=32; got "
         "`epochs`"),
        (["--data=digits", "--set=data.image_size=4"], "`data.image_size` must be greater than or equal to 8; got 4"),
        (["--data=npz:"], f"`data.name` must be one of {', '.join(DATASETS)}, folder:PATH, "
         "csv:PATH, npz:PATH or torchvision/<name>; got 'npz:'"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_one_line(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["data", *arguments]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"


def test_a_sample_has_as_many_of_each_class_as_there_is_room_for() -> None:
    labels = np.repeat([0, 1, 2], [100, 2, 10])
    assert np.bincount(labels[sample(labels, 12)]).tolist() == [4, 2, 4]
    assert len(sample(np.arange(500), 64)) == 64
