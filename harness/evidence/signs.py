"""Joint sign flips by seed: the test that decides whether variants differ from what they are compared with.

Differences are a table (comparisons, seeds), 0 where a pair is missing. A pattern gives every seed one sign, shared by
all comparisons, so that their dependence is kept; comparisons are corrected by the step-down maximum (Westfall & Young
1993, Resampling-Based Multiple Testing; Romano & Wolf 2005, JASA 100:94). It assumes that each seed's vector
of differences is as likely as its mirror image.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
EXACT_SEEDS = 20
"""Up to here all sign patterns are tried, at most 2^19; above, SAMPLED random ones with a fixed seed, and the data."""
SAMPLED = 2**16
TIE = 1e-9
"""Statistics this close count as equal: far above rounding, far below a step in accuracy."""
_CHUNK = 2**12

Table = NDArray[np.float64]


def tabulate(differences: Mapping[str, Mapping[int, float]], seeds: Sequence[int]) -> tuple[Table, NDArray[np.bool_]]:
    """The differences (comparisons, seeds), 0 where a pair is missing, and where there is one."""
    there = np.array([[seed in found for seed in seeds] for found in differences.values()], dtype=bool)
    values = [[found.get(seed, 0.0) for seed in seeds] for found in differences.values()]
    shape = len(differences), len(seeds)
    return np.array(values, dtype=np.float64).reshape(shape), there.reshape(shape)


def flip_sums(rows: Table, *, both_ways: bool = False, of: int = 0) -> Table:
    """Sums of each row under every sign pattern, (rows, patterns); the first pattern is that of the data.

    A pattern's index has a bit a seed, the earliest in the lowest: the patterns of more seeds repeat those of fewer.

    Args:
        rows: (rows, seeds).
        both_ways: a pattern and its opposite both, as one-sided tests need; else the first sign stays.
        of: so many seeds decide whether patterns are sampled; by default as many as the rows have.
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
            signs *= signs[:, :1]  # a pattern and its opposite are one
        if start == 0:
            signs[0] = 1
        parts.append(rows @ signs[:, : rows.shape[1]].T)
    return np.concatenate(parts, axis=1)


def statistics(rows: Table, *, of: int = 0) -> Table:
    """|sum| under every pattern over the root of the sum of squares, (rows, patterns); 0 for a row of zeros."""
    return np.abs(flip_sums(rows, of=of)) / _norms(rows)


def one_sided(rows: Table, *, of: int = 0) -> Table:
    """As `statistics`, signed, and over a pattern and its opposite both: large where a row is above 0."""
    return flip_sums(rows, both_ways=True, of=of) / _norms(rows)


def _norms(rows: Table) -> Table:
    norms = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return np.where(norms > 0, norms, 1.0)


def step_down(found: Table) -> NDArray[np.float64]:
    """Each comparison's p-value, corrected for all: (comparisons, patterns) in, (comparisons,) out.

    In the order of what the data give, largest first: the share of patterns in which the maximum over this comparison
    and all after it reaches what the data give, and no less than the p-value before it.
    """
    seen, p_values = found[:, 0], np.empty(len(found))
    order, largest = np.argsort(-seen, kind="stable"), np.full(found.shape[1], -np.inf)
    for row in order[::-1]:
        np.maximum(largest, found[row], out=largest)
        p_values[row] = np.mean(largest >= seen[row] - TIE)
    p_values[order] = np.maximum.accumulate(p_values[order])
    return p_values


def beyond(values: NDArray[np.float64], room: int) -> NDArray[np.bool_]:
    """Which values are the largest, at most `room` of them; those that tie are all in or all out."""
    if room >= len(values):
        return np.ones(len(values), dtype=bool)
    if room <= 0:
        return np.zeros(len(values), dtype=bool)
    return values > np.partition(values, -room - 1)[-room - 1] + TIE


def smallest_p(pairs: int) -> float:
    """The least two-sided p that so many pairs can give, however many comparisons share the seeds: 0.031 for 6."""
    return 2.0 ** (1 - pairs) if pairs else 1.0


def fewest_pairs(alpha: float = ALPHA) -> int:
    """The least number of pairs that can show anything at this level, whatever the comparisons: 6 at 0.05."""
    return math.floor(math.log2(1 / alpha)) + 2
