"""Tests, intervals and power for few differences paired by seed: arrays in, numbers out.

The mean difference is tested by flipping signs (Fisher 1935, The Design of Experiments, §21), p-values are corrected
by Holm's method (1979), intervals are BCa bootstrap (Efron 1987). Differences, spreads and intervals are in one unit,
the caller's. Resampling uses a fixed seed: it is part of the arithmetic, and the same runs always give the same report.
"""

import bisect
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

EXACT_SEEDS = 20  # up to here all sign patterns are tried, at most 2^19 sums; above, a random sample of them
MOST_SEEDS = 10_000
_HUGE = 100.0  # standard deviations; any test that can show a difference at all shows this one
_SEED = 0


def subtract(values: ArrayLike, baseline: ArrayLike) -> NDArray[np.float64]:
    """values - baseline, exactly 0 where they differ by rounding only, so that rounding decides no sign."""
    left, right = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    return np.where(np.isclose(left, right, rtol=1e-12, atol=0), 0.0, left - right)


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided p of "the mean difference is 0": the share of all 2^n sign patterns with a mean at least as far from 0.

    Exact up to 20 differences; above, 100,000 random patterns. It assumes only that each difference is as likely to
    be d as -d when the recipes are equally good.
    """
    array = np.sort(np.asarray(differences, dtype=np.float64))
    assert array.ndim == 1, array.shape
    assert len(array), "the test needs a difference"
    if not array.any():
        return 1.0
    if len(array) > EXACT_SEEDS:
        rng = np.random.default_rng(_SEED)
        test = stats.permutation_test(
            (array,), np.mean, permutation_type="samples", n_resamples=100_000, batch=1_000, rng=rng
        )
        return float(test.pvalue)
    sums = array[:1]  # the first sign stays: a pattern and its opposite are equally far from 0
    for difference in array[1:]:
        sums = np.concatenate([sums + difference, sums - difference])
    tie = 1e-9 * np.abs(array).sum()  # far above rounding, far below a step in accuracy: equal sums count as equal
    return float(np.mean(np.abs(sums) >= abs(array.sum()) - tie))


def smallest_p(n: int, comparisons: int = 1) -> float:
    """The least two-sided p of `sign_flip_p` for n pairs, after Holm over so many comparisons: 0.031 for 6 and 1."""
    return min(1.0, comparisons * 2.0 ** (1 - n))


def fewest_pairs(comparisons: int, alpha: float = 0.05) -> int:
    """The least number of pairs with which so many comparisons can show anything, all corrected by Holm.

    6 for one comparison, 7 for two or three, 8 for four to six: a design with fewer seeds can decide nothing.
    """
    return next(n for n in range(2, 64) if smallest_p(n, max(1, comparisons)) < alpha)


def bca_interval(
    differences: ArrayLike, confidence: float = 0.95, resamples: int = 10_000
) -> tuple[float, float] | None:
    """Bias-corrected and accelerated bootstrap interval of the mean difference, widened for few pairs.

    Plain BCa is too short here: its 95% interval covered 87% at 6 normal differences and 90% at 10. Taken at the
    level that makes a normal interval as wide as Student's (Hesterberg 2015, arXiv:1411.5279), 93 and 94%.

    None if n pairs cannot give this confidence. Resampled means stay within the range of the differences, and that
    range holds their median with probability 1 - 2^(1-n): 75% at 3 pairs. So 95% needs the 6 pairs that p < 0.05 needs.
    """
    array = np.sort(np.asarray(differences, dtype=np.float64))
    n = len(array)
    if 1 - smallest_p(n) < confidence:
        return None
    if np.ptp(array) <= 1e-9 * np.abs(array).max():
        return float(array.mean()), float(array.mean())
    width = stats.t.isf((1 - confidence) / 2, n - 1) * math.sqrt(n / (n - 1))
    level = 1 - 2 * float(stats.norm.sf(width))
    interval = stats.bootstrap(
        (array,), np.mean, n_resamples=resamples, confidence_level=level, rng=np.random.default_rng(_SEED), method="BCa"
    ).confidence_interval
    return float(interval.low), float(interval.high)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values adjusted by Holm's step-down method, in the order given: reject where adjusted < alpha."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def probability_of_superiority(values: Sequence[float], baseline: Sequence[float]) -> float:
    """P(value > baseline) + P(value = baseline) / 2 over all pairs of runs, 0..1; Mann and Whitney's U / (n m)."""
    differences = subtract(np.asarray(values)[:, None], np.asarray(baseline)[None, :])
    return float(np.mean((np.sign(differences) + 1) / 2))


def t_power(noncentrality: float, degrees: int, alpha: float = 0.05) -> float:
    """Probability that a two-sided t test finds a difference, with its right sign.

    Noncentrality is d·sqrt(n) for n pairs (degrees n - 1) and d·sqrt(n / 2) for n a group (2n - 2), d in spreads.
    """
    return float(stats.nct.sf(stats.t.isf(alpha / 2, degrees), degrees, noncentrality))


def sign_flip_power(effect: float, n: int, alpha: float = 0.05) -> float:
    """Probability that `sign_flip_p` < alpha when n differences are normal with mean = effect standard deviations.

    Exact where only "all signs alike" rejects (6 pairs at 0.05), 0 with fewer pairs. Above that it is the paired
    t test's power at the level that n pairs attain: within 5 points of simulation from 7 pairs on.
    """
    patterns = 2 ** (min(n, 50) - 1)  # beyond 50 the steps are far too small to matter
    rejecting = math.ceil(alpha * patterns) - 1  # p is a multiple of 1 / patterns, and must be below alpha
    if rejecting == 0:
        return 0.0
    if rejecting == 1:
        return float(stats.norm.cdf(effect) ** n)
    return t_power(effect * math.sqrt(n), n - 1, rejecting / patterns)


def detectable_difference(std_of_differences: float, n: int, power: float = 0.8, alpha: float = 0.05) -> float | None:
    """The true mean difference that n pairs show with this power; None if n pairs can show none at all.

    A spread estimated from n pairs is itself uncertain, by half at 3 pairs and by a quarter at 10: a rough plan.
    """
    if smallest_p(n) >= alpha:
        return None
    effect, result = optimize.brentq(lambda d: sign_flip_power(d, n, alpha) - power, 0, _HUGE, full_output=True)
    assert result.converged
    return std_of_differences * float(effect)


def seeds_needed(std_of_differences: float, difference: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Pairs of seeds that show this difference with this power: at least 6 at alpha 0.05, at most MOST_SEEDS."""
    effect = min(_HUGE, difference / std_of_differences) if std_of_differences else _HUGE
    return bisect.bisect_left(range(MOST_SEEDS), power, key=lambda n: sign_flip_power(effect, n, alpha))


def spread_interval(std: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the true standard deviation behind one of n normal values (chi-square, n - 1 degrees)."""
    tail = (1 - confidence) / 2
    low, high = (std * math.sqrt((n - 1) / float(stats.chi2.isf(q, n - 1))) for q in (tail, 1 - tail))
    return low, high


def ratio_interval(
    values: ArrayLike, baseline: ArrayLike, confidence: float = 0.95
) -> tuple[float, float, float] | None:
    """Ratio of geometric means, values / baseline, and its interval: Welch's t (1947) of their logarithms.

    None where either side has a single value, which says nothing of how much it varies. All values are above 0.
    """
    ours, base = (np.log(np.asarray(side, dtype=np.float64)) for side in (values, baseline))
    if min(len(ours), len(base)) < 2:
        return None
    mean = float(ours.mean() - base.mean())
    errors = [float(side.var(ddof=1)) / len(side) for side in (ours, base)]
    half = 0.0
    if sum(errors) > 0:
        weights = sum(error**2 / (len(side) - 1) for error, side in zip(errors, (ours, base), strict=True))
        half = float(stats.t.isf((1 - confidence) / 2, sum(errors) ** 2 / weights)) * math.sqrt(sum(errors))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def correlation_interval(r: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a correlation r of n >= 4 pairs by Fisher's z (Fisher 1921)."""
    if abs(r) >= 1:
        return r, r
    half = float(stats.norm.isf((1 - confidence) / 2)) / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
