"""Confidence intervals of mean differences by inversion of the sign-flip test, so that intervals agree with verdicts.

A value is in the interval if the test would not reject it as the true mean. For each sign pattern, the values at which
it starts to count are known exactly: the mean of the differences that it flips, and the mean of those that it keeps.
The ends of the interval are order statistics of these values (Hartigan 1969, JASA 64:1303, typical values).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.evidence.signs import ALPHA, EXACT_SEEDS, TIE, flip_sums, statistics

Interval = tuple[float, float]
_NOISE = 0.01
"""Tolerance for p-values from sampled patterns: eleven standard errors."""


def intervals(
    rows: NDArray[np.float64], there: NDArray[np.bool_], shown: Sequence[bool], alpha: float = ALPHA
) -> list[Interval | None]:
    """The confidence interval of each comparison's mean difference; None if there are too few pairs, or if
    an earlier look showed a difference that these pairs do not show.

    Each interval alone has a coverage of at least 1 - alpha. An interval excludes 0 if and only if a difference is
    shown; therefore, as in the joint test, all comparisons without a true difference include 0 with a joint probability
    of at least 1 - alpha.

    Args:
        rows: differences, shape (comparisons, seeds), 0 where a pair is missing.
        there: True where there is a pair, shape (comparisons, seeds).
        shown: True for comparisons that show a difference.
    """
    level = levels(statistics(rows), alpha)
    return [_interval(*each, alpha) for each in zip(rows, there, level, shown, strict=True)]


def levels(found: NDArray[np.float64], alpha: float) -> list[int]:
    """For each comparison, the number of patterns in which its own statistic reaches the joint test's critical value.

    The joint test rejects if less than alpha of all patterns have a maximum as large as the data's. The critical value
    is that of the first step, over all comparisons, or of a later step if that is the one that shows the difference.

    Args:
        found: the result of `signs.statistics`, shape (comparisons, patterns).
    """
    room, left, made = math.ceil(alpha * found.shape[1]) - 1, list(range(len(found))), [0] * len(found)
    while left:
        critical = float(np.partition(found[left].max(axis=0), -room - 1)[-room - 1])
        shown = [row for row in left if found[row, 0] > critical + TIE]
        for row in left if len(left) == len(found) else shown:
            above, reaching = (int((found[row] > critical + by).sum()) for by in (TIE, -TIE))
            made[row] = max(above, min(room, max(1, reaching - 1)))  # patterns tied at 0 need not be tied elsewhere
        left = [row for row in left if row not in shown] if shown else []
    return made


def _interval(
    row: NDArray[np.float64], there: NDArray[np.bool_], level: int, shown: bool, alpha: float
) -> Interval | None:
    """The values that more than `level` patterns reach, extended to include 0 if no difference is shown.

    `shown` may differ from this test: it may rest on an exact p-value, on other comparisons, or on a look.
    """
    sums, kept = flip_sums(np.vstack([row, there.astype(np.float64)]))
    reaching = int((np.abs(sums) >= abs(sums[0]) - TIE * math.sqrt(float(row @ row))).sum())
    if shown and reaching > level:
        level = reaching
        if there.size <= EXACT_SEEDS or reaching > (alpha + _NOISE) * len(sums):
            return None
    total, pairs = sums[0], kept[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.array([(total - sums) / (pairs - kept), (total + sums) / (pairs + kept)])
    always = np.minimum(pairs - kept, pairs + kept) < 0.5  # no difference or all differences are flipped
    low = _end(np.where(always, -np.inf, means.min(axis=0)), level, row)
    high = -_end(-np.where(always, np.inf, means.max(axis=0)), level, row)
    if not math.isfinite(low):
        return None
    return (low, high) if shown else (min(low, 0.0), max(high, 0.0))


def _end(begins: NDArray[np.float64], level: int, row: NDArray[np.float64]) -> float:
    end = float(np.partition(begins, level)[level])
    return 0.0 if abs(end) <= TIE * float(np.abs(row).max()) else end
