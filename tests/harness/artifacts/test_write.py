"""What a finished run leaves on disk: a real run of two epochs, written once and read back."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from harness.artifacts import figures
from harness.artifacts.write import load_model, misclassified
from harness.execution.run import run, run_folder
from harness.plans.hyperparameters import SGD
from harness.plans.spec import Design, RunSpec, Transform
from harness.records import journal
from harness.records.events import EpochDone, Finished
from harness.records.record import Record
from harness.training.build import DeviceData
from harness.training.evaluate import Interrupted, Normaliser, predict, probabilities


@pytest.fixture
def made(
    spec: RunSpec, design: Design, data: DeviceData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, RunSpec, dict[str, Figure]]:
    """The run's folder, its spec, and the figures it drew."""
    flip = Transform(name="HorizontalFlip", p=1.0)
    changes = {"augmentation": (flip,), "optimizer": SGD(lr=0.001)}  # slow enough to leave mistakes
    spec = spec.model_copy(update={"recipe": spec.recipe.model_copy(update=changes)})
    kept: dict[str, Figure] = {}
    save = figures.save

    def keep(figure: Figure, path: Path) -> None:
        kept[path.stem] = figure
        save(figure, path)

    monkeypatch.setattr(figures, "save", keep)
    *_, end = run(spec, design, data, tmp_path, stop=lambda: False)
    assert isinstance(end, Finished)
    return run_folder(tmp_path, spec), spec, kept


def test_a_run_is_whole_on_disk(made: tuple[Path, RunSpec, dict[str, Figure]], data: DeviceData) -> None:
    """Weights load through the registry and give the recorded logits; those give the recorded accuracy; the spec
    comes back; the table is that of the mistakes; the grids show the network's real inputs.

    One test, because it takes a run to make.
    """
    folder, spec, drawn = made
    files = folder / "artifacts"
    assert RunSpec.model_validate_json((files / "spec.json").read_text()) == spec
    record = Record("id", "key", tuple(journal.read(folder)), files / "predictions.npz")
    normaliser = Normaliser.make(data.dataset.mean, data.dataset.std, "cpu", "channels_last", "fp32")
    logits = predict(load_model(files / "weights.safetensors"), data.test.images, normaliser).numpy()
    np.testing.assert_array_equal(record.logits, logits)
    np.testing.assert_array_equal(record.labels, data.dataset.test.labels)
    last = record.epochs[-1]
    assert isinstance(last, EpochDone)
    assert record.correct.mean() == last.test.accuracy
    table = pd.read_csv(files / "misclassified.csv")
    pd.testing.assert_frame_equal(table, misclassified(logits, record.labels, data.dataset.classes))
    assert len(table) == (~record.correct).sum() > 0
    assert_grids_show_inputs(drawn, data, table)
    pngs = {path.stem for path in (files / "figures").glob("*.png")}
    curves = {"curves", "learning_rate", "confusion_matrix", "per_class_accuracy"}
    assert pngs == curves | {"sample_images", "augmented_images", "misclassified"}
    assert "31," in (files / "model_summary.txt").read_text()


def test_a_stop_while_figures_are_drawn(spec: RunSpec, design: Design, data: DeviceData, tmp_path: Path) -> None:
    """On a busy machine they take long: the run stops before the next one, and once taken up draws them all."""
    folder = run_folder(tmp_path, spec)
    with pytest.raises(Interrupted):
        list(run(spec, design, data, tmp_path, stop=(folder / "artifacts" / "misclassified.csv").exists))
    assert not list(folder.rglob("*.png"))
    assert [fact.kind for fact in journal.read(folder)] == ["started", "epoch", "epoch"]
    _, end = run(spec, design, data, tmp_path, stop=lambda: False)
    assert isinstance(end, Finished)
    assert len(list(folder.rglob("*.png"))) == 7


def assert_grids_show_inputs(drawn: dict[str, Figure], data: DeviceData, table: pd.DataFrame) -> None:
    def shown(name: str) -> tuple[np.ndarray, list[str]]:
        axes = drawn[name].axes[0]
        return np.stack([np.asarray(image.get_array()) for image in axes.images]), [t.get_text() for t in axes.texts]

    train, test = data.dataset.train.images[:32] / 255, data.dataset.test.images / 255
    images, titles = shown("sample_images")
    np.testing.assert_allclose(images, train, atol=1e-6)
    assert titles == [data.dataset.classes[label] for label in data.dataset.train.labels[:32]]
    np.testing.assert_allclose(shown("augmented_images")[0], train[:, :, ::-1], atol=1e-6)
    images, titles = shown("misclassified")
    np.testing.assert_allclose(images, test[table["index"]][:32], atol=1e-6)
    first = table.iloc[0]
    assert titles[0] == f"{first['true']}\n→ {first['predicted']} {first['confidence']:.0%}"


def test_misclassified_is_every_mistake_surest_first() -> None:
    """By hand: images 3 and 0 are wrong, 3 with more confidence; ties keep the order of the images."""
    logits = np.log(np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5], [0.1, 0.0001, 0.8999]]))
    table = misclassified(logits, np.array([1, 1, 2, 0]), ("cat", "dog, small", "owl"))
    assert table.to_dict("list") == {
        "index": [3, 0],
        "true": ["cat", "dog, small"],
        "predicted": ["owl", "cat"],
        "confidence": [0.8999, 0.6],
    }
    assert probabilities(logits)[0].tolist() == pytest.approx([0.6, 0.3, 0.1])
    tied = misclassified(np.zeros((3, 2)), np.array([1, 0, 1]), ("cat", "dog"))
    assert tied["index"].tolist() == [0, 2]


def test_weights_of_another_model_are_not_loaded(tmp_path: Path) -> None:
    """The file names its model and options; tensors that do not fit it are refused, none is left at random."""
    from safetensors.torch import save_file

    metadata = {"model": "norm_cnn", "options": json.dumps({"norm": "group"})}
    save_file({"head.weight": torch.zeros(10, 28, 1, 1)}, tmp_path / "w.safetensors", metadata=metadata)
    with pytest.raises(RuntimeError, match=r"Missing key"):
        load_model(tmp_path / "w.safetensors")
