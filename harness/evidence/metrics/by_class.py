"""Metrics that give every class the same weight, however many images it has; classes without any do not count."""

import numpy as np

from harness.evidence.metrics.registry import Logits, Targets, register


@register()
def balanced_accuracy(logits: Logits, targets: Targets) -> float:
    """Macro accuracy: the mean over classes of the share of a class's images that is right (Brodersen et al. 2010)."""
    return float(_recalls(logits, targets).mean())


@register()
def worst_class_accuracy(logits: Logits, targets: Targets) -> float:
    """The share that is right in the class where it is lowest."""
    return float(_recalls(logits, targets).min())


@register()
def macro_f1(logits: Logits, targets: Targets) -> float:
    """The mean over classes of the harmonic mean of precision and recall.

    Over the classes that are among targets or predictions, as scikit-learn's `f1_score(average="macro")` has it.
    """
    predicted, classes = logits.argmax(1), logits.shape[1]
    right = np.bincount(targets[predicted == targets], minlength=classes)
    named = np.bincount(predicted, minlength=classes) + np.bincount(targets, minlength=classes)
    return float((2 * right[named > 0] / named[named > 0]).mean())


def _recalls(logits: Logits, targets: Targets) -> np.ndarray:
    """(classes with images,)."""
    classes = logits.shape[1]
    images = np.bincount(targets, minlength=classes)
    right = np.bincount(targets[logits.argmax(1) == targets], minlength=classes)
    return right[images > 0] / images[images > 0]
