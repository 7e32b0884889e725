"""Compares checkpoints: what given sets of weights do on the same test images, one image at a time.

McNemar's test (1947, exact) and a bootstrap over images ask whether these two checkpoints differ on images like these.
They know nothing of what another seed would have given: whether two recipes differ is for `reports.statistics`.
Proportions are 0..1; images are named by their index in the test set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_SEED = 0  # resampling is part of the arithmetic: the same checkpoints always give the same report


@dataclass(frozen=True)
class McNemar:
    """How many images each checkpoint gets right, and the exact two-sided p of "each is as often alone right"."""

    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float


@dataclass(frozen=True, eq=False)
class Flips:
    """Which images a variant fixes and breaks compared with a baseline, beside what another seed changes anyway."""

    fixed: Ints
    """Images that most runs of the baseline get wrong and most of the variant right; half of the runs is not most."""
    broken: Ints
    surely_fixed: Ints
    """Images wrong in every run of the baseline and right in every run of the variant."""
    surely_broken: Ints
    fixed_per_pair: float
    """Images wrong in one run of the baseline and right in one of the variant: the mean over pairs of runs of different
    seeds, as chance is; over those of the same seed where there are no others."""
    broken_per_pair: float
    by_chance_per_pair: float | None
    """The same mean over pairs of runs of one recipe, averaged over the two recipes; None without a second seed.

    Were the recipes equally good on every image, fixed and broken would both be expected to equal this."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy in bins of equal width, each array (bins,); nan where a bin holds no image."""

    centre: Floats
    confidence: Floats
    accuracy: Floats
    count: Ints


def mcnemar(correct_a: Bools, correct_b: Bools) -> McNemar:
    """Two checkpoints on the same images; correct_*: (images,) bool."""
    _check_pair(correct_a, correct_b)
    only_a, only_b = int(np.sum(correct_a & ~correct_b)), int(np.sum(~correct_a & correct_b))
    p_value = min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    return McNemar(int(np.sum(correct_a & correct_b)), only_a, only_b, int(np.sum(~(correct_a | correct_b))), p_value)


def bootstrap_accuracy_difference(
    table: McNemar, confidence: float = 0.95, resamples: int = 10_000
) -> tuple[float, float]:
    """Percentile interval of accuracy a - accuracy b, 0..1, resampling images.

    An image counts for a, for b or for neither, so a resample of the images is a draw of these three counts. They come
    from numpy's old generator, the one whose numbers stay the same from version to version (NEP 19).
    """
    counts = np.array([table.only_a, table.only_b, table.both + table.neither])
    draws = np.random.RandomState(_SEED).multinomial(counts.sum(), counts / counts.sum(), size=resamples)
    tail = (1 - confidence) / 2
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / counts.sum(), [tail, 1 - tail])
    return float(low), float(high)


def flips(variant: Mapping[int, Bools], baseline: Mapping[int, Bools]) -> Flips:
    """What the variant changes, image by image; seed → whether its run got each image right, (images,) bool."""
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
    """Mean distance between confidence and accuracy over bins, weighted by images (Guo et al. 2017, arXiv:1706.04599).

    confidence: (images,) the largest softmax probability, 0..1; correct: (images,) bool.
    """
    return calibration_error(reliability(confidence, correct, bins))


def calibration_error(curve: Reliability) -> float:
    """The expected calibration error of a reliability curve, 0..1."""
    return float(np.nansum(curve.count * np.abs(curve.accuracy - curve.confidence)) / curve.count.sum())


def reliability(confidence: NDArray[np.floating], correct: Bools, bins: int = 15) -> Reliability:
    """The reliability curve of one checkpoint, or of several joined; bin k holds k/bins < confidence <= (k+1)/bins."""
    assert confidence.shape == correct.shape, f"{confidence.shape} and {correct.shape}"
    assert confidence.size, "a curve needs an image"
    edges = np.linspace(0, 1, bins + 1)
    bin_of_image = np.digitize(confidence, edges[1:-1], right=True)
    count = np.bincount(bin_of_image, minlength=bins)
    sums = [np.bincount(bin_of_image, weights=values, minlength=bins) for values in (confidence, correct)]
    mean_confidence, accuracy = (np.divide(s, count, out=np.full(bins, np.nan), where=count > 0) for s in sums)
    return Reliability((edges[:-1] + edges[1:]) / 2, mean_confidence, accuracy, count)


def pooled(curves: Sequence[Reliability]) -> Reliability:
    """The reliability curve of several checkpoints joined, from their own."""
    count = np.sum([curve.count for curve in curves], axis=0)

    def joined(means: list[Floats]) -> Floats:
        sums = np.sum([np.nan_to_num(mean) * c.count for mean, c in zip(means, curves, strict=True)], axis=0)
        return np.divide(sums, count, out=np.full(len(count), np.nan), where=count > 0)

    confidence, accuracy = joined([c.confidence for c in curves]), joined([c.accuracy for c in curves])
    return Reliability(curves[0].centre, confidence, accuracy, count)


def _swaps(right: Bools, wrong: Bools) -> int:
    """Images right in a run of the one and wrong in a run of the other, the sum over all pairs; (runs, images) bool."""
    return int(np.sum(right.sum(axis=0) * (~wrong).sum(axis=0)))


def _changes_within(correct: Bools) -> float:
    """Images wrong in one run and right in another, the mean over all ordered pairs of different runs."""
    seeds, right = len(correct), correct.sum(axis=0)
    return float(np.sum(right * (seeds - right)) / (seeds * (seeds - 1)))


def _check_pair(correct_a: Bools, correct_b: Bools) -> None:
    assert correct_a.dtype == correct_b.dtype == bool, f"{correct_a.dtype} and {correct_b.dtype}"
    assert correct_a.shape == correct_b.shape, f"{correct_a.shape} and {correct_b.shape}"
    assert correct_a.ndim == 1, correct_a.shape
    assert correct_a.size, "a comparison needs an image"
