"""Metrics that weight all images equally."""

import numpy as np

from harness.evidence.metrics.registry import Logits, Targets, register

BINS = 15


@register()
def accuracy(logits: Logits, targets: Targets) -> float:
    """The share of images whose largest logit is the true class's; among equal logits the first class counts."""
    return float((logits.argmax(1) == targets).mean())


@register(least_classes=6)
def top5_accuracy(logits: Logits, targets: Targets) -> float:
    """The share of images for which fewer than five classes have a larger logit than the true class."""
    true = logits[np.arange(len(targets)), targets]
    return float(((logits > true[:, None]).sum(axis=1) < 5).mean())


@register(higher_is_better=False, fraction=False)
def loss(logits: Logits, targets: Targets) -> float:
    """Mean cross entropy in nats, without label smoothing."""
    return float(-_log_probabilities(logits)[np.arange(len(targets)), targets].mean())


@register(higher_is_better=False)
def calibration_error(logits: Logits, targets: Targets) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv:1706.04599): |confidence - accuracy| in fifteen bins of
    confidence, averaged over images; bin k contains k/15 < confidence <= (k+1)/15."""
    confidence, right = np.exp(_log_probabilities(logits).max(axis=1)), logits.argmax(1) == targets
    bins = np.digitize(confidence, np.linspace(0, 1, BINS + 1)[1:-1], right=True)
    gaps = np.bincount(bins, weights=confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(targets))


def _log_probabilities(logits: Logits) -> np.ndarray:
    """Logarithm of the softmax over classes, shape (N, C), float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
