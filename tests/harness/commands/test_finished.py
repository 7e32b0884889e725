"""What is made of a finished run, from the command line: predictions of new images, and its network for elsewhere."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import models
from harness.__main__ import main
from harness.artifacts.weights import load_model, save_weights
from harness.commands.finished import find
from harness.data.load import Dataset
from harness.records.events import Event
from harness.records.journal import Journal
from harness.values import HarnessError

KEY = "tiny-plain-s0-0123456789ab"


@pytest.fixture
def project(tmp_path: Path, events: list[Event], dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of three classes on 12x12 images, with weights that were never trained."""
    monkeypatch.setattr("harness.__main__.ROOT", tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "runs" / "tiny" / KEY
    (folder / "artifacts").mkdir(parents=True)
    kept = Journal(folder)
    for event in events:
        kept.append(event)
    torch.manual_seed(0)
    options: dict[str, object] = {"in_channels": 3, "image_size": 12, "classes": 3, "head": "gap"}
    network = models.build("norm_cnn", **options)
    save_weights(folder / "artifacts" / "weights.safetensors", network, "norm_cnn", options, dataset, flip=False)
    np.savez_compressed(
        folder / "artifacts" / "predictions.npz", logits=np.eye(3, dtype=np.float32), labels=np.arange(3)
    )
    return tmp_path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Grey and colour, two sizes, a folder in the folder, a name that is not UTF-8, and a file that is no image."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "b.png")
    Image.fromarray(pixels[:12, :12, 0]).save(folder / "a.png")
    Image.fromarray(pixels[::-1].copy()).save(folder / "more" / "=c.JPG", format="JPEG")
    Image.fromarray(pixels[:8]).save(folder / "more" / os.fsdecode(b"\xff.png"))
    (folder / "notes.txt").write_text("no image")
    return folder


def test_predictions_are_those_of_the_network(project: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every image by its name, grey ones in three channels, each brought to the size that the network knows."""
    assert main(["predict", KEY, f"--images={photos}"]) == 0
    folder = project / "reports" / "out" / f"predict-{KEY}"
    found = pd.read_csv(folder / "predictions.csv")
    assert list(found["file"]) == ["a.png", "b.png", "more/=c.JPG", r"more/\udcff.png"]
    trained = load_model(project / "runs" / "tiny" / KEY / "artifacts" / "weights.safetensors")
    image = np.asarray(Image.open(photos / "b.png").resize((12, 12), Image.Resampling.BILINEAR))
    chances = torch.from_numpy(trained.logits(image[None])).double().softmax(1)[0]
    assert found["predicted"][1] == ("cat", "dog", "owl")[int(chances.argmax())]
    assert found["confidence"][1] == pytest.approx(float(chances.max()), abs=6e-5)
    assert (found["confidence"] >= found["second_confidence"]).all()
    with Image.open(folder / "contact_sheet.png") as sheet:
        assert sheet.format == "PNG"
    assert capsys.readouterr().out.startswith("4 images, resized to 12x12 where they were not: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", KEY], "IMAGES must name a folder of image files, as in: make predict RUN=<key> IMAGES=photos"),
        (["predict", KEY, "--images=nowhere"], "IMAGES must be a folder of image files; 'nowhere' is none"),
        (["predict", KEY, "--images={root}/empty"],
         "IMAGES '{root}/empty' holds no .jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .tif, .tiff file; name another "
         "folder"),
        (["predict", KEY, "--images={root}/bad"],
         "IMAGES: 'x.png' of '{root}/bad' cannot be decoded (it is none of JPEG, PNG, WEBP, BMP, TIFF); replace or "
         "remove it"),
        (["predict", "../x", "--images=nowhere"], "RUN must be a run's key in runs/ or its id in MLflow; got '../x'"),
    ],
    ids=["nothing", "no folder", "empty", "damaged", "no key"],
)  # fmt: skip
def test_what_cannot_be_predicted_is_one_line(
    project: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written then."""
    (project / "empty").mkdir()
    (project / "bad").mkdir()
    (project / "bad" / "x.png").write_bytes(b"no image")
    assert main([each.format(root=project) for each in arguments]) == 2
    assert capsys.readouterr().err == f"error: {said.format(root=project)}\n"
    assert not (project / "reports").exists()


@pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="the extra `export` is not installed")
def test_a_run_is_exported_in_every_form(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The weights are the run's own, byte for byte; what is printed names every file, and nothing else is said."""
    assert main(["export", KEY]) == 0
    folder = project / "reports" / "out" / f"export-{KEY}"
    assert {path.name for path in folder.iterdir()} == {
        "weights.safetensors",
        "model.pt2",
        "model.onnx",
        "mlflow_model",
    }
    kept = project / "runs" / "tiny" / KEY / "artifacts" / "weights.safetensors"
    assert (folder / "weights.safetensors").read_bytes() == kept.read_bytes()
    out, err = capfd.readouterr()
    assert err == ""
    assert [line.split(":")[0].rsplit("/", 1)[-1] for line in out.splitlines()] == [
        "weights.safetensors", "model.pt2", "model.onnx", "mlflow_model", "input"]  # fmt: skip


def test_a_run_without_its_weights_says_how_to_go_on(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "runs" / "tiny" / KEY / "artifacts" / "weights.safetensors").unlink()
    assert main(["predict", KEY, f"--images={project}"]) == 2
    said = f"error: runs/tiny/{KEY}/artifacts/weights.safetensors is missing; make sync puts it back if MLflow has it\n"
    assert capsys.readouterr().err == said


def test_predictions_are_read_only_as_their_run_recorded_them(project: Path) -> None:
    """24 test images of three classes; a file of other shapes, or one that was cut short, is one line."""
    file = project / "runs" / "tiny" / KEY / "artifacts" / "predictions.npz"
    with pytest.raises(HarnessError, match=r"logits in .*predictions.npz must be numbers, \(24, 3\), as recorded; it"):
        find(KEY, project).answers()
    np.savez_compressed(file, logits=np.ones((24, 3), np.float32), labels=np.arange(24) % 3)
    logits, labels = find(KEY, project).answers()
    assert (logits.shape, labels.shape) == ((24, 3), (24,))
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(HarnessError, match=r"predictions.npz is damaged \(.*\); make sync puts it back if"):
        find(KEY, project).answers()
