"""Counts class by class are those of scikit-learn, and of a count by hand."""

import numpy as np
from sklearn.metrics import confusion_matrix

from harness.artifacts.predictions import confusion, per_class_accuracy


def test_confusion_equals_scikit_learns_for_byte_labels():
    """uint8 labels times the number of classes must not overflow."""
    rng = np.random.default_rng(9)
    labels, predictions = rng.integers(0, 100, (2, 5000)).astype(np.uint8)
    counts = confusion(labels, predictions, 100)
    assert counts.shape == (100, 100)
    assert (counts == confusion_matrix(labels, predictions, labels=range(100))).all()


def test_per_class_accuracy_by_hand():
    counts = confusion(np.array([0, 0, 0, 0, 2]), np.array([0, 0, 0, 1, 1]), 3)
    assert counts.tolist() == [[3, 1, 0], [0, 0, 0], [0, 1, 0]]
    accuracy = per_class_accuracy(counts)
    assert accuracy[[0, 2]].tolist() == [0.75, 0.0]
    assert np.isnan(accuracy[1])
