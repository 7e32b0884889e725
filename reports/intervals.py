"""Intervals of mean differences from the sign-flip test that decides about them, so that neither contradicts the other.

A value is in the interval if the test would not reject it in place of 0. For a mean, the values at which a pattern
begins to count are known exactly: the mean of the differences that it flips, and that of those it keeps. The interval's
ends are order statistics of these (Hartigan 1969, JASA 64:1303, typical values).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.evidence.signs import ALPHA, EXACT_SEEDS, TIE, flip_sums, statistics

Interval = tuple[float, float]
_NOISE = 0.01
"""How far sampled patterns may put a p-value from the exact one: eleven standard errors."""


def intervals(
    rows: NDArray[np.float64], there: NDArray[np.bool_], shown: Sequence[bool], alpha: float = ALPHA
) -> list[Interval | None]:
    """The interval of each comparison's mean difference; None where so few pairs cannot give one.

    Each holds alone with at least 1 - alpha. That none of those whose true difference is 0 leaves it out holds with
    1 - alpha for all together, as the joint test does: an interval leaves 0 out if, and only if, a difference is shown.

    Args:
        rows: differences (comparisons, seeds), 0 where a pair is missing.
        there: where there is a pair, (comparisons, seeds).
        shown: which comparisons show a difference.
    """
    level = levels(statistics(rows), alpha)
    return [_interval(*each, alpha) for each in zip(rows, there, level, shown, strict=True)]


def levels(found: NDArray[np.float64], alpha: float) -> list[int]:
    """For each comparison, in how many patterns its own statistic is as large as the joint test asks for.

    The joint test rejects where fewer than alpha of all patterns have a maximum as large as the data's. What it asks
    for is taken from its first step, over all comparisons; from a later one only where that is what shows a difference.

    Args:
        found: `signs.statistics`, (comparisons, patterns).
    """
    room, left, made = math.ceil(alpha * found.shape[1]) - 1, list(range(len(found))), [0] * len(found)
    while left:
        critical = float(np.partition(found[left].max(axis=0), -room - 1)[-room - 1])
        shown = [row for row in left if found[row, 0] > critical + TIE]
        for row in left if len(left) == len(found) else shown:
            above, reaching = (int((found[row] > critical + by).sum()) for by in (TIE, -TIE))
            made[row] = max(above, min(room, max(1, reaching - 1)))  # patterns that tie at 0 need not tie elsewhere
        left = [row for row in left if row not in shown] if shown else []
    return made


def _interval(
    row: NDArray[np.float64], there: NDArray[np.bool_], level: int, shown: bool, alpha: float
) -> Interval | None:
    """All values that more than `level` patterns reach, and 0 where no difference is shown: `shown` may know more than
    this test, an exact p in place of a sampled one, the other comparisons, or that a look has not spent enough."""
    sums, kept = flip_sums(np.vstack([row, there.astype(np.float64)]))
    reaching = int((np.abs(sums) >= abs(sums[0]) - TIE * math.sqrt(float(row @ row))).sum())
    if shown and reaching > level:
        level = reaching
        if there.size <= EXACT_SEEDS or reaching > (alpha + _NOISE) * len(sums):
            return None
    total, pairs = sums[0], kept[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.array([(total - sums) / (pairs - kept), (total + sums) / (pairs + kept)])
    always = np.minimum(pairs - kept, pairs + kept) < 0.5  # nothing is flipped, or all
    low = _end(np.where(always, -np.inf, means.min(axis=0)), level, row)
    high = -_end(-np.where(always, np.inf, means.max(axis=0)), level, row)
    if not math.isfinite(low):
        return None
    return (low, high) if shown else (min(low, 0.0), max(high, 0.0))


def _end(begins: NDArray[np.float64], level: int, row: NDArray[np.float64]) -> float:
    end = float(np.partition(begins, level)[level])
    return 0.0 if abs(end) <= TIE * float(np.abs(row).max()) else end
