"""What a finished run leaves on disk: whole or not there, and what the run really was."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import models
from harness.artifacts import figures, write
from harness.artifacts.predictions import misclassified
from harness.artifacts.weights import load_model
from harness.artifacts.write import Leaves, write_artifacts
from harness.augmentation.normaliser import Normaliser
from harness.data.load import Dataset
from harness.execution.run import run, run_folder
from harness.plans.experiment import Design
from harness.plans.hyperparameters import SGD
from harness.plans.spec import Circumstances, RunSpec, Transform
from harness.records import journal
from harness.records.events import Event, Finished
from harness.records.record import Record
from harness.training.build import DeviceData, evenly
from harness.training.evaluate import Interrupted, ShouldStop

FIGURES = {"curves", "learning_rate", "confusion_matrix", "per_class_accuracy"}
GRIDS = {"sample_images", "augmented_images", "misclassified"}
Make = Callable[[ShouldStop], Any]


@pytest.fixture
def make(spec: RunSpec, circumstances: Circumstances, design: Design, data: DeviceData, tmp_path: Path) -> Make:
    """make(stop) → the run's last event, its artifacts and figures written."""

    def one(stop: ShouldStop = lambda: False) -> Any:
        *_, (_, end) = run([spec], circumstances, design, data, tmp_path, stop)
        return end

    return one


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def recorded(folder: Path) -> dict[str, tuple[int, str]]:
    """What the record should say of a folder's files."""
    return {name: (len(text), hashlib.sha256(text).hexdigest()) for name, text in contents(folder).items()}


def test_a_run_is_whole_on_disk(
    spec: RunSpec,
    circumstances: Circumstances,
    design: Design,
    data: DeviceData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights load through the registry and give the recorded logits of uint8 images; those give the recorded
    accuracy; the spec comes back; the table is that of the mistakes; the grids show the network's real inputs; every
    file is on record.

    One test, because it takes a run to make.
    """
    changes = {
        "augmentation": (Transform(name="HorizontalFlip", p=1.0),),
        "optimizer": SGD(lr=0.001),  # slow enough to leave mistakes
        "test_time_flip": True,
    }
    spec = spec.model_copy(update={"recipe": spec.recipe.model_copy(update=changes)})
    drawn: dict[str, Figure] = {}
    save = figures.save

    def keep(figure: Figure, path: Path) -> None:
        drawn[path.stem] = figure
        save(figure, path)

    monkeypatch.setattr(figures, "save", keep)
    *_, (_, end) = run([spec], circumstances, design, data, tmp_path, stop=lambda: False)
    assert isinstance(end, Finished)
    folder = run_folder(tmp_path, spec)
    files = folder / "artifacts"
    assert end.artifacts == recorded(files)
    assert RunSpec.model_validate_json((files / "spec.json").read_text()) == spec
    record = Record("id", "key", tuple(journal.read(folder)), files / "predictions.npz")
    trained = load_model(files / "weights.safetensors")
    logits = trained.logits(data.dataset.test.images)
    np.testing.assert_allclose(record.logits, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(record.labels, data.dataset.test.labels)
    accuracy = record.epochs[-1].test.accuracy
    assert record.correct.mean() == (logits.argmax(1) == record.labels).mean() == accuracy
    table = pd.read_csv(files / "misclassified.csv")
    pd.testing.assert_frame_equal(table, misclassified(record.logits, record.labels, data.dataset.classes))
    assert len(table) == (~record.correct).sum() > 0
    _assert_grids_show_inputs(drawn, data.dataset, table)
    assert {path.stem for path in (files / "figures").glob("*.png")} == FIGURES | GRIDS
    assert "31," in (files / "model_summary.txt").read_text()


def _assert_grids_show_inputs(drawn: dict[str, Figure], dataset: Dataset, table: pd.DataFrame) -> None:
    def shown(name: str) -> tuple[np.ndarray, list[str]]:
        axes = drawn[name].axes[0]
        return np.stack([np.asarray(image.get_array()) for image in axes.images]), [t.get_text() for t in axes.texts]

    chosen = evenly(72, 32).numpy()
    train, test = dataset.train.images[chosen] / 255, dataset.test.images / 255
    images, titles = shown("sample_images")
    np.testing.assert_allclose(images, train, atol=1e-6)
    assert titles == [dataset.classes[label] for label in dataset.train.labels[chosen]]
    np.testing.assert_allclose(shown("augmented_images")[0], train[:, :, ::-1], atol=1e-6)
    images, titles = shown("misclassified")
    np.testing.assert_allclose(images, test[table["index"]][:32], atol=1e-6)
    first = table.iloc[0]
    assert titles[0] == f"{first['true']}\n→ {first['predicted']} {first['confidence']:.0%}"


@pytest.fixture
def _two_plain_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the real ones takes seconds."""
    monkeypatch.setattr(write, "_figures", lambda run: {"one": None, "two": None})
    monkeypatch.setattr(figures, "save", lambda figure, path: path.write_bytes(path.stem.encode()))


@pytest.mark.usefixtures("_two_plain_figures")
def test_a_stop_while_figures_are_drawn(make: Make, spec: RunSpec, tmp_path: Path) -> None:
    """On a busy machine they take long: the run stops before the next one, and once taken up draws them all."""
    folder = run_folder(tmp_path, spec)
    with pytest.raises(Interrupted):
        make((folder / ".artifacts.part" / "figures" / "one.png").exists)
    assert not (folder / "artifacts").exists()
    assert [event.kind for event in journal.read(folder)] == ["started", "epoch", "epoch"]
    end = make(lambda: False)
    assert end.artifacts.keys() >= {"figures/one.png", "figures/two.png"}
    assert end.artifacts == recorded(folder / "artifacts")


@pytest.fixture
def leaves(spec: RunSpec, events: list[Event], dataset: Dataset) -> Leaves:
    options: dict[str, object] = {"image_size": 12, "classes": 3, "head": "gap"}
    return Leaves(
        spec=spec,
        events=events,
        dataset=dataset,
        network=models.build("norm_cnn", **options),
        options=options,
        logits=np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32),
        augmented=dataset.train.images[:32],
        normaliser=Normaliser.make((0.4,) * 3, (0.2,) * 3, "cpu", "contiguous", "fp32"),
        summary="layers",
    )


@pytest.mark.usefixtures("_two_plain_figures")
def test_artifacts_are_replaced_at_once_or_not_at_all(
    leaves: Leaves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop or a full disk half-way leaves what was there, and what had been begun is no obstacle; no file of an
    earlier attempt stays among the new ones. Every file is synced before the folder gets its name."""
    folder = tmp_path / "artifacts"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "old.png").write_text("of an earlier attempt")
    before = contents(folder)
    with pytest.raises(Interrupted):
        write_artifacts(folder, leaves, (tmp_path / ".artifacts.part" / "figures" / "one.png").exists)
    assert contents(folder) == before

    def full(figure: Figure, path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(figures, "save", full)
        with pytest.raises(OSError, match="No space left on device"):
            write_artifacts(folder, leaves)
    assert contents(folder) == before

    synced: list[Path] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    if Path("/proc/self/fd").exists():
        monkeypatch.setattr(os, "fsync", fsync)
    written = write_artifacts(folder, leaves)
    assert written == recorded(folder)
    assert written.keys() == {
        *("spec.json", "model_summary.txt", "weights.safetensors", "predictions.npz", "misclassified.csv"),
        *("figures/one.png", "figures/two.png"),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["artifacts"]
    if Path("/proc/self/fd").exists():
        part = tmp_path / ".artifacts.part"
        assert set(synced[:-3]) == {part / name for name in written}
        assert synced[-3:] == [part / "figures", part, tmp_path]


def test_a_range_test_has_a_figure(leaves: Leaves, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the events hold one, and only there: every figure's name, in the order in which they are drawn."""
    for name in ("curves", "learning_rate", "confusion_matrix", "per_class_accuracy", "grid", "misclassified"):
        monkeypatch.setattr(figures, name, lambda *_: None)
    monkeypatch.setattr(figures, "lr_finder", lambda *_: None)
    assert write._figures(leaves).keys() == FIGURES | GRIDS | {"lr_finder"}
    without = [event for event in leaves.events if event.kind != "lr_found"]
    assert write._figures(Leaves(**{**vars(leaves), "events": without})).keys() == FIGURES | GRIDS
