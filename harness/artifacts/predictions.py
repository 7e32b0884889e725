"""What predictions on labelled images amount to, class by class: arrays in, arrays out."""

import numpy as np
from numpy.typing import NDArray


def confusion(labels: NDArray[np.integer], predictions: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): row is the label, column the prediction; labels and predictions: (images,)."""
    assert labels.shape == predictions.shape, f"{labels.shape} and {predictions.shape}"
    pairs = labels.astype(np.int64) * classes + predictions  # uint8 labels would overflow
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def per_class_accuracy(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each label's images predicted right, (classes,), from `confusion`; nan for a label without images."""
    images = counts.sum(axis=1)
    return np.divide(np.diag(counts), images, out=np.full(len(counts), np.nan), where=images > 0)
