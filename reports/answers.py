"""Predictions of each variant's runs on all test images, read one run at a time to limit memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.predictions import confusion, per_class_accuracy, probabilities
from harness.records.record import Record
from reports.checkpoints import Bools, Floats, Ints, Reliability, calibration_error, pooled, reliability


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions of a variant's runs, ordered by seed, on the same test images."""

    correct: Bools
    """(runs, images)."""
    predicted: NDArray[np.unsignedinteger]
    """Predicted class, shape (runs, images)."""
    chance: Floats
    """Softmax probabilities, averaged over runs, shape (images, classes)."""
    confidence: Floats
    """The largest probability of each image, summed over runs, shape (images,)."""
    mean_confidence: Floats
    """Confidence of each run, averaged over images, shape (runs,)."""
    calibration_errors: Floats
    """Expected calibration error of each run (0..1), shape (runs,)."""
    curve: Reliability
    """Reliability curve of all runs pooled."""
    confusion: Ints
    """Confusion counts summed over runs, shape (classes, classes); rows are labels, columns predictions."""
    class_accuracy: Floats
    """Accuracy of each run within each class, shape (runs, classes); nan for a class without images."""


def answers_of(runs: Sequence[Record]) -> Answers:
    """Read the predictions of a variant's runs; each file is read once."""
    images, classes = runs[0].logits.shape
    chance, sure, counts = np.zeros((images, classes)), np.zeros(images), np.zeros((classes, classes), np.int64)
    means: list[float] = []
    curves: list[Reliability] = []
    shares: list[Floats] = []
    for run in runs:
        of_run = probabilities(run.logits)
        confidence = of_run.max(1)
        chance += of_run
        sure += confidence
        means.append(float(confidence.mean()))
        curves.append(reliability(confidence, run.correct))
        cells = confusion(run.labels, run.predicted, classes)
        counts += cells
        shares.append(per_class_accuracy(cells))
    return Answers(
        correct=np.stack([run.correct for run in runs]),
        predicted=np.stack([run.predicted for run in runs]),
        chance=chance / len(runs),
        confidence=sure,
        mean_confidence=np.array(means),
        calibration_errors=np.array([calibration_error(curve) for curve in curves]),
        curve=pooled(curves),
        confusion=counts,
        class_accuracy=np.stack(shares),
    )
