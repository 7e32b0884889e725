"""What logits say: probabilities, the mistakes among them, and counts class by class."""

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from harness.artifacts.predictions import confusion, misclassified, per_class_accuracy, probabilities


def test_probabilities_are_a_softmax_that_does_not_overflow() -> None:
    """In float64, rows summing to 1, also for logits of 10,000."""
    expected = np.array([[math.exp(1), math.exp(2), math.exp(-3)], [1.0, 0.0, 0.0]])
    expected /= expected.sum(1, keepdims=True)
    found = probabilities(np.array([[1.0, 2.0, -3.0], [1e4, 0.0, -1e4]], np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


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
