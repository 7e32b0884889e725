"""Metrics that weight all classes equally, whatever their number of images; classes without images are ignored."""

import numpy as np

from harness.evidence.metrics.registry import Logits, Targets, register


@register()
def balanced_accuracy(logits: Logits, targets: Targets) -> float:
    """Balanced (macro) accuracy: the mean over classes of the accuracy within a class (Brodersen et al. 2010)."""
    return float(_recalls(logits, targets).mean())


@register()
def worst_class_accuracy(logits: Logits, targets: Targets) -> float:
    """The accuracy within the class where it is lowest."""
    return float(_recalls(logits, targets).min())


@register()
def macro_f1(logits: Logits, targets: Targets) -> float:
    """Macro F1: the mean over classes of the harmonic mean of precision and recall.

    The mean is over classes that occur in the targets or predictions, as in scikit-learn's `f1_score(average="macro")`.
    """
    predicted, classes = logits.argmax(1), logits.shape[1]
    right = np.bincount(targets[predicted == targets], minlength=classes)
    named = np.bincount(predicted, minlength=classes) + np.bincount(targets, minlength=classes)
    return float((2 * right[named > 0] / named[named > 0]).mean())


def _recalls(logits: Logits, targets: Targets) -> np.ndarray:
    """Recall of each class that has images, shape (classes with images,)."""
    classes = logits.shape[1]
    images = np.bincount(targets, minlength=classes)
    right = np.bincount(targets[logits.argmax(1) == targets], minlength=classes)
    return right[images > 0] / images[images > 0]
