"""Confusion, accuracy by class and misclassified images from logits and labels, in NumPy. Imports no torch."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


def probabilities(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax over classes, shape (N, classes)."""
    from scipy.special import softmax  # needed only when a run ends

    return softmax(logits.astype(np.float64), axis=1)


def misclassified(
    logits: NDArray[np.floating], labels: NDArray[np.integer], classes: tuple[str, ...]
) -> "pd.DataFrame":
    """A table of misclassified images, most confident first: index, true, predicted, confidence.

    Args:
        logits: shape (N, classes).
        labels: true class indices, shape (N,).
    """
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


def confusion(labels: NDArray[np.integer], predictions: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Confusion counts, shape (classes, classes): rows are labels, columns predictions.

    Args:
        labels, predictions: class indices, shape (images,).
    """
    assert labels.shape == predictions.shape, f"{labels.shape} and {predictions.shape}"
    pairs = labels.astype(np.int64) * classes + predictions  # uint8 labels would overflow
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def per_class_accuracy(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Accuracy within each class from `confusion`, shape (classes,); nan for a class without images."""
    images = counts.sum(axis=1)
    return np.divide(np.diag(counts), images, out=np.full(len(counts), np.nan), where=images > 0)
