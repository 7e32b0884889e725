"""Every registered model leaves and comes back: the same logits by ONNX, torch.export and MLflow, from plain pixels."""

import importlib.util
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import models
from harness.artifacts import export
from harness.artifacts.weights import Trained
from harness.tracking import flavour
from harness.values import HarnessError

SMALL = {"resnet": {"width": 8, "whitening": True}}
"""Options of a model that by default is large."""


def _trained(name: str, flip: bool = False) -> tuple[Trained, tuple[int, int, int]]:
    """A network that was never trained, with statistics of batches that it has seen."""
    torch.manual_seed(0)
    options = models.options(name) | SMALL.get(name, {})
    network = models.build(name, **options)
    channels, size = int(options["in_channels"]), int(options["image_size"])
    with torch.no_grad():
        network(torch.rand(64, channels, size, size))
    classes = tuple(f"class {at}" for at in range(int(options["classes"])))
    mean, std = tuple(0.4 + 0.1 * at for at in range(channels)), tuple(0.2 + 0.05 * at for at in range(channels))
    return Trained(network.eval(), classes, mean, std, flip), (size, size, channels)


def _images(shape: tuple[int, int, int], count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="the extra `export` is not installed")
@pytest.mark.parametrize("name", models.names())
def test_every_model_says_the_same_elsewhere(name: str, tmp_path: Path) -> None:
    """For one image and for more than it was exported with: normalisation is in the graph, and the batch is free."""
    trained, shape = _trained(name, flip=name == "norm_cnn")
    (tmp_path / "kept").write_bytes(b"weights")
    made = export.export(trained, tmp_path / "kept", shape, tmp_path)
    assert [each.file.name for each in made] == ["weights.safetensors", "model.pt2", "model.onnx"]
    assert (tmp_path / "weights.safetensors").read_bytes() == b"weights"
    for count in (1, 7):
        images = _images(shape, count)
        expected = trained.logits(images)
        assert np.ptp(expected) > 0.01
        for run, file in ((export.run_pt2, "model.pt2"), (export.run_onnx, "model.onnx")):
            assert np.abs(run(tmp_path / file, images) - expected).max() <= export.TOLERANCE


@pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="the extra `export` is not installed")
def test_an_export_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A format that computes something else is not handed out in silence."""
    trained, shape = _trained("norm_cnn")
    (tmp_path / "kept").touch()
    monkeypatch.setattr(export, "run_onnx", lambda _, images: trained.logits(images) + 0.01)
    with pytest.raises(HarnessError, match=r"^model.onnx differs from the network by 0.01 in a logit, and 0.0001 is "):
        export.export(trained, tmp_path / "kept", shape, tmp_path)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that has it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else sys)
    with pytest.raises(HarnessError, match=r"^export needs onnx: pip install onnx \(extra `export`\)$"):
        export.require()


def test_mlflow_loads_the_network_without_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From code and an exported program: classes with their probabilities, though unpickling is forbidden."""
    trained, shape = _trained("norm_cnn")
    program = torch.export.export(export.Deployed(trained), (torch.from_numpy(_images(shape, 2)),), dynamic_shapes=(
        {0: torch.export.Dim("images", min=1)},))  # fmt: skip
    torch.export.save(program, tmp_path / "model.pt2")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    flavour.save_pyfunc(tmp_path / "folder", tmp_path / "model.pt2", trained.classes, shape)
    import mlflow.pyfunc

    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        found = mlflow.pyfunc.load_model(str(tmp_path / "folder")).predict(_images(shape, 3))
    logits = torch.from_numpy(trained.logits(_images(shape, 3))).double()
    assert list(found["predicted"]) == [trained.classes[at] for at in logits.argmax(1)]
    np.testing.assert_allclose(found["confidence"], logits.softmax(1).max(1).values, atol=1e-5)
    names = {path.name for path in (tmp_path / "folder").rglob("*") if path.is_file()}
    assert {"MLmodel", "served.py", "model.pt2", "classes.json"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pth"))]
    assert json.loads((tmp_path / "folder" / "artifacts" / "classes.json").read_text()) == list(trained.classes)
