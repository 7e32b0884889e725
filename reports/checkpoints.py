"""Compare checkpoints, that is particular trained weights, on the same test images.

McNemar's exact test (1947) and a bootstrap over images test whether two checkpoints differ on images like these. They
do not account for the variation between seeds; `reports.statistics` compares recipes. Proportions are in 0..1; images
are identified by their index in the test set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_SEED = 0  # fixed, so that the same checkpoints always give the same report


@dataclass(frozen=True)
class McNemar:
    """Numbers of images that only one checkpoint classifies correctly, and McNemar's exact two-sided p-value."""

    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float


@dataclass(frozen=True, eq=False)
class Flips:
    """Prediction flips (churn): images that a variant fixes and breaks, compared with those that another seed flips."""

    fixed: Ints
    """Images that more than half of the baseline's runs get wrong and more than half of the variant's get right."""
    broken: Ints
    surely_fixed: Ints
    """Images wrong in every run of the baseline and right in every run of the variant."""
    surely_broken: Ints
    fixed_per_pair: float
    """Number of images that are wrong in a run of the baseline and right in a run of the variant, averaged over pairs
    of runs with different seeds, or with the same seed if there are no others."""
    broken_per_pair: float
    by_chance_per_pair: float | None
    """The same mean over pairs of runs of one recipe, averaged over both recipes; None if there is only one seed.

    If both recipes were equally good on every image, `fixed_per_pair` and `broken_per_pair` would be expected to equal
    this number."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability curve: accuracy and confidence in bins of equal width, shape (bins,); nan for empty bins."""

    centre: Floats
    confidence: Floats
    accuracy: Floats
    count: Ints


def mcnemar(correct_a: Bools, correct_b: Bools) -> McNemar:
    """McNemar's exact test for two checkpoints on the same images.

    Args:
        correct_a, correct_b: True for correctly classified images, shape (images,).
    """
    _check_pair(correct_a, correct_b)
    only_a, only_b = int(np.sum(correct_a & ~correct_b)), int(np.sum(~correct_a & correct_b))
    p_value = min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    return McNemar(int(np.sum(correct_a & correct_b)), only_a, only_b, int(np.sum(~(correct_a | correct_b))), p_value)


def bootstrap_accuracy_difference(
    table: McNemar, confidence: float = 0.95, resamples: int = 10_000
) -> tuple[float, float]:
    """Bootstrap percentile interval of accuracy a - accuracy b (0..1) over images.

    Only a, only b, or neither alone is right on each image, so a resample is a multinomial draw of these three counts.
    It uses numpy's legacy generator, whose numbers do not change between versions (NEP 19).

    Args:
        table: the counts of images, from `mcnemar`.
    """
    counts = np.array([table.only_a, table.only_b, table.both + table.neither])
    draws = np.random.RandomState(_SEED).multinomial(counts.sum(), counts / counts.sum(), size=resamples)
    tail = (1 - confidence) / 2
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / counts.sum(), [tail, 1 - tail])
    return float(low), float(high)


def flips(variant: Mapping[int, Bools], baseline: Mapping[int, Bools]) -> Flips:
    """Images that a variant fixes and breaks relative to the baseline.

    Args:
        variant, baseline: seed → True for correctly classified images, shape (images,).
    """
    new, old = np.stack(list(variant.values())), np.stack(list(baseline.values()))
    assert new.dtype == old.dtype == bool
    assert new.shape[1] == old.shape[1], "all runs must have seen the same images"
    new_share, old_share = new.mean(axis=0), old.mean(axis=0)
    within = [_changes_within(runs) for runs in (new, old) if len(runs) > 1]
    same = [seed for seed in variant if seed in baseline]
    fixed, broken = _swaps(new, old), _swaps(old, new)
    pairs = len(new) * len(old) - len(same)
    if pairs:
        fixed -= sum(int(np.sum(variant[seed] & ~baseline[seed])) for seed in same)
        broken -= sum(int(np.sum(baseline[seed] & ~variant[seed])) for seed in same)
    return Flips(
        fixed=np.flatnonzero((old_share < 0.5) & (new_share > 0.5)),
        broken=np.flatnonzero((old_share > 0.5) & (new_share < 0.5)),
        surely_fixed=np.flatnonzero(~old.any(axis=0) & new.all(axis=0)),
        surely_broken=np.flatnonzero(old.all(axis=0) & ~new.any(axis=0)),
        fixed_per_pair=fixed / (pairs or len(same)),
        broken_per_pair=broken / (pairs or len(same)),
        by_chance_per_pair=float(np.mean(within)) if within else None,
    )


def expected_calibration_error(confidence: NDArray[np.floating], correct: Bools, bins: int = 15) -> float:
    """Expected calibration error: |confidence - accuracy| averaged over images in bins (Guo et al. 2017,
    arXiv:1706.04599).

    Args:
        confidence: the largest softmax probability (0..1) of each image, shape (images,).
        correct: True for correctly classified images, shape (images,).
    """
    return calibration_error(reliability(confidence, correct, bins))


def calibration_error(curve: Reliability) -> float:
    """The expected calibration error (0..1) of a reliability curve."""
    return float(np.nansum(curve.count * np.abs(curve.accuracy - curve.confidence)) / curve.count.sum())


def reliability(confidence: NDArray[np.floating], correct: Bools, bins: int = 15) -> Reliability:
    """The reliability curve of one or several checkpoints; bin k contains k/bins < confidence <= (k+1)/bins.

    Args:
        confidence: the largest softmax probability (0..1) of each image, shape (images,).
        correct: True for correctly classified images, shape (images,).
    """
    assert confidence.shape == correct.shape, f"{confidence.shape} and {correct.shape}"
    assert confidence.size, "a curve needs an image"
    edges = np.linspace(0, 1, bins + 1)
    bin_of_image = np.digitize(confidence, edges[1:-1], right=True)
    count = np.bincount(bin_of_image, minlength=bins)
    sums = [np.bincount(bin_of_image, weights=values, minlength=bins) for values in (confidence, correct)]
    mean_confidence, accuracy = (np.divide(s, count, out=np.full(bins, np.nan), where=count > 0) for s in sums)
    return Reliability((edges[:-1] + edges[1:]) / 2, mean_confidence, accuracy, count)


def pooled(curves: Sequence[Reliability]) -> Reliability:
    """Pool the reliability curves of several checkpoints."""
    count = np.sum([curve.count for curve in curves], axis=0)

    def joined(means: list[Floats]) -> Floats:
        sums = np.sum([np.nan_to_num(mean) * c.count for mean, c in zip(means, curves, strict=True)], axis=0)
        return np.divide(sums, count, out=np.full(len(count), np.nan), where=count > 0)

    confidence, accuracy = joined([c.confidence for c in curves]), joined([c.accuracy for c in curves])
    return Reliability(curves[0].centre, confidence, accuracy, count)


def _swaps(right: Bools, wrong: Bools) -> int:
    """Number of images right in one run and wrong in the other, summed over all pairs; arrays (runs, images), bool."""
    return int(np.sum(right.sum(axis=0) * (~wrong).sum(axis=0)))


def _changes_within(correct: Bools) -> float:
    """Number of images wrong in one run and right in another, averaged over all ordered pairs of different runs."""
    seeds, right = len(correct), correct.sum(axis=0)
    return float(np.sum(right * (seeds - right)) / (seeds * (seeds - 1)))


def _check_pair(correct_a: Bools, correct_b: Bools) -> None:
    assert correct_a.dtype == correct_b.dtype == bool, f"{correct_a.dtype} and {correct_b.dtype}"
    assert correct_a.shape == correct_b.shape, f"{correct_a.shape} and {correct_b.shape}"
    assert correct_a.ndim == 1, correct_a.shape
    assert correct_a.size, "a comparison needs an image"
