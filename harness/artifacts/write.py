"""The files a finished run leaves: spec, summary, weights, per-example predictions, misclassified table, figures.

Weights are safetensors whose metadata name the model and its options, so that `load_model` needs nothing else. pandas
and what draws are imported when a run has ended: they would keep the first step waiting for 3 seconds.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import models
from harness.artifacts.spreadsheet import write_csv
from harness.data.load import Dataset
from harness.plans.spec import RunSpec
from harness.records.events import EpochDone, Fact, LRFound
from harness.training.evaluate import Interrupted, ShouldStop, probabilities

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 32
"""Images in a grid."""


def write(
    folder: Path,
    spec: RunSpec,
    facts: list[Fact],
    dataset: Dataset,
    model: nn.Module,
    options: dict[str, object],
    logits: NDArray[np.float32],
    augmented: NDArray[np.uint8],
    as_seen: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    summary: str,
    stop: ShouldStop = lambda: False,
) -> None:
    """Write all of a run's artifacts into `folder`.

    Args:
        logits: (test images, classes).
        augmented: training images 0..SHOWN-1 as augmented in the first epoch, (B, H, W, C).
        as_seen: images (N, H, W, C) uint8 → what the network is given, made visible: (N, H, W, C), 0..1.
        summary: the model's table of layers, as text.

    Raises:
        Interrupted: `stop`, asked before every figure, said so.
    """
    from harness.artifacts import figures

    (folder / "figures").mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(spec.model_dump_json(indent=2))
    (folder / "model_summary.txt").write_text(summary)
    metadata = {"model": spec.recipe.model.name, "options": json.dumps(options)}
    tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "weights.safetensors", metadata=metadata)
    labels = np.asarray(dataset.test.labels)
    np.savez_compressed(folder / "predictions.npz", logits=logits, labels=labels.astype(np.int32))
    wrong = misclassified(logits, labels, dataset.classes)
    write_csv(wrong, folder / "misclassified.csv")
    shown = wrong.head(SHOWN)
    epochs = [fact for fact in facts if isinstance(fact, EpochDone)]
    drawn = {
        "curves": figures.curves(epochs),
        "learning_rate": figures.learning_rate(epochs),
        "confusion_matrix": figures.confusion_matrix(labels, logits.argmax(1), dataset.classes),
        "per_class_accuracy": figures.per_class_accuracy(labels, logits.argmax(1), dataset.classes),
        "sample_images": figures.grid(
            as_seen(dataset.train.images[:SHOWN]),
            [dataset.classes[label] for label in dataset.train.labels[:SHOWN]],
            "Training images, as the model sees them without augmentation",
        ),
        "augmented_images": figures.grid(
            as_seen(augmented),
            [dataset.classes[label] for label in dataset.train.labels[: len(augmented)]],
            "The same images as augmented in epoch 1",
        ),
        "misclassified": figures.misclassified(shown, as_seen(dataset.test.images[shown["index"].to_numpy(dtype=int)])),
    }
    found = next((fact for fact in facts if isinstance(fact, LRFound)), None)
    if found:
        drawn["lr_finder"] = figures.lr_finder(found)
    for name, figure in drawn.items():
        if stop():
            raise Interrupted
        figures.save(figure, folder / "figures" / f"{name}.png")


def misclassified(
    logits: NDArray[np.floating], labels: NDArray[np.integer], classes: tuple[str, ...]
) -> "pd.DataFrame":
    """The test images the network gets wrong, most confident first: index, true, predicted, confidence."""
    import pandas as pd

    chance = probabilities(logits)
    predicted = logits.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-chance[wrong, predicted[wrong]], kind="stable")]
    return pd.DataFrame(
        {
            "index": wrong,
            "true": [classes[label] for label in labels[wrong]],
            "predicted": [classes[label] for label in predicted[wrong]],
            "confidence": chance[wrong, predicted[wrong]].round(4),
        }
    )


def load_model(path: Path) -> nn.Module:
    """The network that a run's `weights.safetensors` holds, in evaluation mode, built through the registry."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    model = models.build(metadata["model"], **json.loads(metadata["options"]))
    model.load_state_dict(load_file(path))
    return model.eval()
