"""What each variant's runs answer on every test image, read run by run: one run's logits are in memory at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.predictions import confusion, per_class_accuracy, probabilities
from harness.records.record import Record
from reports.checkpoints import Bools, Floats, Ints, Reliability, calibration_error, pooled, reliability


@dataclass(frozen=True, eq=False)
class Answers:
    """A variant's runs, in the order of their seeds, on the same test images."""

    correct: Bools
    """(runs, images)."""
    predicted: NDArray[np.unsignedinteger]
    """Class, (runs, images)."""
    chance: Floats
    """Softmax probabilities, the mean over runs, (images, classes)."""
    confidence: Floats
    """The largest probability of each image, the sum over runs, (images,)."""
    mean_confidence: Floats
    """Of each run, the mean over images, (runs,)."""
    calibration_errors: Floats
    """Of each run, 0..1, (runs,)."""
    curve: Reliability
    """All runs joined."""
    confusion: Ints
    """Counts, the sum over runs: row is the label, column the prediction, (classes, classes)."""
    class_accuracy: Floats
    """Share of each class's images that each run predicts right, nan for a class without any, (runs, classes)."""


def answers_of(runs: Sequence[Record]) -> Answers:
    """Read the predictions of a variant's runs, each file once."""
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
