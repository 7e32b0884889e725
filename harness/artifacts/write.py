"""Write a finished run's files: specification, model summary, weights, predictions, misclassified images, figures.

pandas and matplotlib are imported only here at the end of a run; at the start they would delay the first step by 3 s.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from harness.artifacts.predictions import misclassified
from harness.artifacts.spreadsheet import spelt_out, write_csv
from harness.artifacts.weights import save_weights
from harness.augmentation.normaliser import Normaliser
from harness.data.load import Dataset
from harness.environment.files import fsync_folder
from harness.plans.spec import RunSpec
from harness.records.events import EpochDone, Event, LRFound
from harness.training.build import evenly
from harness.training.evaluate import Interrupted, ShouldStop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 32
"""Number of images in a grid."""


@dataclass(frozen=True)
class Leaves:
    """Everything that a run's artifacts are made from."""

    spec: RunSpec
    events: Sequence[Event]
    dataset: Dataset
    network: nn.Module
    options: dict[str, object]
    """The arguments that the network was built with."""
    logits: NDArray[np.float32]
    """Logits of the test images, shape (N, classes)."""
    augmented: NDArray[np.uint8]
    """The training images `evenly(…, SHOWN)` as augmented in the first epoch, shape (B, H, W, C)."""
    normaliser: Normaliser
    summary: str
    """The table of the model's layers, as text."""


def write_artifacts(folder: Path, run: Leaves, stop: ShouldStop = lambda: False) -> dict[str, tuple[int, str]]:
    """Write all artifacts of a run and replace `folder` by them at once, synced to disk.

    Args:
        stop: polled before every figure.

    Returns:
        Each file's path below `folder` → (size in bytes, SHA-256).

    Raises:
        Interrupted: `stop` returned True; `folder` is unchanged.
    """
    from harness.artifacts import figures

    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "figures").mkdir(parents=True)
    (part / "spec.json").write_text(run.spec.model_dump_json(indent=2))
    (part / "model_summary.txt").write_text(run.summary)
    recipe, labels = run.spec.recipe, np.asarray(run.dataset.test.labels)
    weights = part / "weights.safetensors"
    save_weights(weights, run.network, recipe.model.name, run.options, run.dataset, recipe.test_time_flip)
    np.savez_compressed(part / "predictions.npz", logits=run.logits, labels=labels.astype(np.int32))
    wrong = misclassified(run.logits, labels, run.dataset.classes)
    if files := run.dataset.test_files:
        wrong.insert(1, "file", [spelt_out(files[index]) for index in wrong["index"]])
    write_csv(wrong, part / "misclassified.csv")
    for name, figure in _figures(run).items():
        if stop():
            raise Interrupted
        figures.save(figure, part / "figures" / f"{name}.png")
    written = {path.relative_to(part).as_posix(): _synced(path) for path in sorted(part.rglob("*")) if path.is_file()}
    fsync_folder(part / "figures")
    fsync_folder(part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    fsync_folder(folder.parent)
    return written


def _figures(run: Leaves) -> "dict[str, Figure]":
    from harness.artifacts import figures

    dataset, classes = run.dataset, run.dataset.classes
    labels, predicted = np.asarray(dataset.test.labels), run.logits.argmax(1)
    chosen = evenly(len(dataset.train.labels), SHOWN).numpy()
    names = [classes[label] for label in dataset.train.labels[chosen]]
    shown = misclassified(run.logits, labels, classes).head(SHOWN)
    epochs = [event for event in run.events if isinstance(event, EpochDone)]
    as_seen = run.normaliser.as_seen
    drawn = {
        "curves": figures.curves(epochs),
        "learning_rate": figures.learning_rate(epochs),
        "confusion_matrix": figures.confusion_matrix(labels, predicted, classes),
        "per_class_accuracy": figures.per_class_accuracy(labels, predicted, classes),
        "sample_images": figures.grid(
            as_seen(dataset.train.images[chosen]), names, "Training images, as the model sees them without augmentation"
        ),
        "augmented_images": figures.grid(as_seen(run.augmented), names, "The same images as augmented in epoch 1"),
        "misclassified": figures.misclassified(shown, as_seen(dataset.test.images[shown["index"].to_numpy(dtype=int)])),
    }
    found = next((event for event in run.events if isinstance(event, LRFound)), None)
    return drawn | ({"lr_finder": figures.lr_finder(found)} if found else {})


def _synced(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        content = file.read()
    return len(content), hashlib.sha256(content).hexdigest()
