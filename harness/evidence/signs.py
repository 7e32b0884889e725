"""Joint sign-flip test by seed, which decides whether variants differ from what they are compared with.

Differences form a table of shape (comparisons, seeds), 0 where a pair is missing. A sign pattern gives every seed one
sign, shared by all comparisons, which preserves their dependence. Comparisons are corrected by the step-down maximum
(Westfall & Young 1993, Resampling-Based Multiple Testing; Romano & Wolf 2005, JASA 100:94). The test assumes that under
the null hypothesis each seed's vector of differences is as likely as its negative.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
EXACT_SEEDS = 20
"""Up to this many seeds all sign patterns are tried (2^19, one-sided 2^20); above, the data's and SAMPLED others."""
SAMPLED = 2**16
TIE = 1e-9
"""Statistics closer than this count as equal: far above rounding errors, far below one image's share of accuracy."""
_CHUNK = 2**12

Table = NDArray[np.float64]


def tabulate(differences: Mapping[str, Mapping[int, float]], seeds: Sequence[int]) -> tuple[Table, NDArray[np.bool_]]:
    """Tabulate differences.

    Args:
        differences: comparison → seed → difference.
        seeds: the columns.

    Returns:
        The differences, shape (comparisons, seeds), 0 where a pair is missing; and a mask of the same shape, True where
        there is a pair.
    """
    there = np.array([[seed in found for seed in seeds] for found in differences.values()], dtype=bool)
    values = [[found.get(seed, 0.0) for seed in seeds] for found in differences.values()]
    shape = len(differences), len(seeds)
    return np.array(values, dtype=np.float64).reshape(shape), there.reshape(shape)


def flip_sums(rows: Table, *, both_ways: bool = False, of: int = 0) -> Table:
    """The sum of each row under every sign pattern, shape (rows, patterns); the first pattern is the data's own.

    Each bit of a pattern's index is the sign of one seed, the first seed in the lowest bit, so that the patterns of the
    first n seeds repeat within those of more seeds.

    Args:
        rows: shape (rows, seeds).
        both_ways: include each pattern and its opposite, as one-sided tests need; otherwise the first sign is fixed.
        of: number of seeds that decides whether patterns are sampled; by default the number of columns.
    """
    if max(rows.shape[1], of) > EXACT_SEEDS:
        return _sampled_sums(rows, both_ways, max(rows.shape[1], of))
    sums = np.zeros((len(rows), 1))
    for seed, column in enumerate(rows.T):
        plus = sums + column[:, None]
        sums = plus if seed == 0 and not both_ways else np.concatenate([plus, sums - column[:, None]], axis=1)
    return sums


def _sampled_sums(rows: Table, both_ways: bool, of: int) -> Table:
    rng, parts = np.random.default_rng(0), list[Table]()
    for start in range(0, SAMPLED, _CHUNK):
        signs = rng.integers(0, 2, (_CHUNK, of), dtype=np.int8) * 2 - 1
        if not both_ways:
            signs *= signs[:, :1]  # a pattern and its opposite give the same statistic
        if start == 0:
            signs[0] = 1
        parts.append(rows @ signs[:, : rows.shape[1]].T)
    return np.concatenate(parts, axis=1)


def statistics(rows: Table, *, of: int = 0) -> Table:
    """|sum| / sqrt(sum of squares) of each row under every pattern, shape (rows, patterns); 0 for a row of zeros."""
    return np.abs(flip_sums(rows, of=of)) / _norms(rows)


def one_sided(rows: Table, *, of: int = 0) -> Table:
    """Like `statistics`, but signed and including each pattern's opposite: large where a row is above 0."""
    return flip_sums(rows, both_ways=True, of=of) / _norms(rows)


def _norms(rows: Table) -> Table:
    norms = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return np.where(norms > 0, norms, 1.0)


def step_down(found: Table) -> NDArray[np.float64]:
    """Corrected p-values by the step-down maximum: shape (comparisons, patterns) → (comparisons,).

    Comparisons are ordered by the statistic of the data, largest first. A p-value is the share of patterns in which the
    maximum over this comparison and those after it is at least the statistic of the data; it is never smaller than the
    p-value before it.
    """
    seen, p_values = found[:, 0], np.empty(len(found))
    order, largest = np.argsort(-seen, kind="stable"), np.full(found.shape[1], -np.inf)
    for row in order[::-1]:
        np.maximum(largest, found[row], out=largest)
        p_values[row] = np.mean(largest >= seen[row] - TIE)
    p_values[order] = np.maximum.accumulate(p_values[order])
    return p_values


def beyond(values: NDArray[np.float64], room: int) -> NDArray[np.bool_]:
    """Mask of the largest values, at most `room` of them; tied values are all in or all out."""
    if room >= len(values):
        return np.ones(len(values), dtype=bool)
    if room <= 0:
        return np.zeros(len(values), dtype=bool)
    return values > np.partition(values, -room - 1)[-room - 1] + TIE


def smallest_p(pairs: int) -> float:
    """The smallest two-sided p-value possible with so many pairs, for any number of comparisons: 0.031 for 6 pairs."""
    return 2.0 ** (1 - pairs) if pairs else 1.0


def fewest_pairs(alpha: float = ALPHA) -> int:
    """The smallest number of pairs that can be significant at this level, for any number of comparisons: 6 at 0.05."""
    return math.floor(math.log2(1 / alpha)) + 2
