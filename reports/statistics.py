"""Compare recipes by runs with several seeds.

Variants are run with the same seeds, so differences are paired by seed: variant minus baseline, in the caller's unit
(reports use percentage points). All comparisons of an experiment are tested together by joint sign flips of whole seeds
(`harness.evidence.signs`); intervals are by inversion of the same test (`reports.intervals`). In contrast,
`reports.checkpoints` compares two trained networks on particular test images.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.evidence.looks import Decision
from harness.evidence.signs import ALPHA, smallest_p
from harness.values import HarnessError
from reports.family import Tested, Verdict, judge_together
from reports.inference import detectable_difference, seeds_needed, spread_interval, subtract, success_interval

Results = Mapping[str, Mapping[int, float]]
"""Variant → seed → result in the metric's unit."""

PAIRS_FOR_A_SPREAD = 4
"""Minimum number of pairs to plan with a standard deviation: at 3 pairs the true one may be 6 times as large."""


@dataclass(frozen=True)
class Summary:
    """A variant's results over seeds: number, mean, standard deviation (n - 1), minimum and maximum."""

    n: int
    mean: float
    std: float | None
    """Standard deviation; None for a single result."""
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The comparison of a variant with a baseline. Differences are variant minus baseline."""

    variant: str
    baseline: str
    n_pairs: int
    mean_difference: float
    ci_low: float | None
    """Lower end of the 95% interval of the mean difference, by inversion of the test: it excludes 0 if and only if the
    verdict is better or worse. None as in `intervals`, or if all pairs are equal."""
    ci_high: float | None
    p_value: float
    """p-value if this were the only comparison."""
    p_adjusted: float
    """p-value corrected for all comparisons."""
    p_equivalent: float
    """p-value of the hypothesis that they differ by smallest_difference or more, corrected for all comparisons."""
    probability_better: float
    """The share of pairs in which the variant is better, ties counted half: an estimate for a new seed."""
    success_low: float
    """Lower end of the 95% interval of that probability, for this comparison alone."""
    success_high: float
    smallest_p: float
    """The smallest p-value possible with this number of pairs."""
    smallest_difference: float
    """The smallest difference that matters, as the experiment declared it."""
    detectable_difference: float | None
    """The true difference that this number of pairs detects with a power of 80%; None if it cannot detect any."""
    seeds_needed: int | None
    """Number of pairs that would detect `planned_difference` with a power of 80%; None once decided, and with fewer
    than PAIRS_FOR_A_SPREAD pairs."""
    seeds_low: int | None
    """seeds_needed (low and high) if the standard deviation were at either end of its 95% interval."""
    seeds_high: int | None
    comparisons: int
    """Number of comparisons that p-values are corrected for, including this one."""
    agreeing: int
    """Number of pairs whose difference has the sign of the mean."""
    all_equal: bool
    """True if all pairs have the same difference, so that there is no interval."""
    negligible: bool
    """True if shown to differ by less than smallest_difference, whatever the verdict."""
    verdict: Verdict
    decision: Decision | None = None
    """The decision by the declared looks, which is then the verdict; None if there are no looks."""

    @property
    def planned_difference(self) -> float:
        """The difference to plan further seeds for: the observed one or, if larger, the smallest that matters."""
        return max(abs(self.mean_difference), self.smallest_difference)


def summarize(values: Sequence[float]) -> Summary:
    """Summarize at least one result."""
    assert len(values), "a summary needs a result"
    array = np.asarray(values, dtype=np.float64)
    std = float(array.std(ddof=1)) if len(array) > 1 else None
    return Summary(len(array), float(array.mean()), std, float(array.min()), float(array.max()))


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> NDArray[np.float64]:
    """Differences value minus baseline at the common seeds, in the order of the seeds; shape (pairs,)."""
    seeds = sorted(values.keys() & baseline.keys())
    return subtract([values[seed] for seed in seeds], [baseline[seed] for seed in seeds])


def compare(
    results: Results,
    baseline: str,
    smallest_difference: float,
    *,
    every_pair: bool = False,
    looks: Sequence[int] = (),
    seeds: Sequence[int] = (),
) -> tuple[Comparison, ...]:
    """Compare every variant with the baseline, in the order of `results`; higher results are better.

    All comparisons are tested as one family, see `family.judge_together`. A difference may be both shown and too small
    to matter: then its verdict is its sign, and `negligible` is set.

    Args:
        smallest_difference: the smallest difference that matters, in the unit of the results.
        every_pair: also compare all pairs of other variants, after those with the baseline.
        looks: declared numbers of seeds for looks; empty if the number of seeds was fixed.
        seeds: the seeds in the order in which they were run; by default sorted.

    Raises:
        HarnessError: the baseline has no results, a result is not finite, or a variant shares no seed with the
            baseline.
    """
    _check(results, baseline)
    others = [variant for variant in results if variant != baseline]
    pairs = [(variant, baseline) for variant in others]
    if every_pair:
        pairs += [(b, a) for a, b in itertools.combinations(others, 2) if results[a].keys() & results[b].keys()]
    found = {" ".join(pair): _differences(results, *pair) for pair in pairs}
    tested = judge_together(found, smallest_difference, looks, seeds)
    return tuple(
        _comparison(pair, each, smallest_difference, len(pairs)) for pair, each in zip(pairs, tested, strict=True)
    )


def best_group(comparisons: Sequence[Comparison], variants: Sequence[str]) -> tuple[str, ...]:
    """The variants that are not shown to be worse than another; the best is among them with the tests' confidence.

    Args:
        comparisons: the comparisons of every pair of variants.
    """
    beaten = {
        c.variant if c.verdict == "worse" else c.baseline for c in comparisons if c.verdict in ("better", "worse")
    }
    return tuple(variant for variant in variants if variant not in beaten)


def _differences(results: Results, variant: str, baseline: str) -> dict[int, float]:
    seeds = sorted(results[variant].keys() & results[baseline].keys())
    return dict(zip(seeds, paired(results[variant], results[baseline]).tolist(), strict=True))


def _comparison(pair: tuple[str, str], tested: Tested, smallest_difference: float, comparisons: int) -> Comparison:
    differences, n, mean = tested.differences, len(tested.differences), tested.mean
    all_equal = n > 1 and bool(np.ptp(differences) <= 1e-9 * np.abs(differences).max())
    low, high = (None if all_equal else tested.bounds) or (None, None)
    wins = float(np.mean((np.sign(differences) + 1) / 2))
    spread = float(differences.std(ddof=1)) if n > 1 else None
    plannable = spread if tested.verdict == "not decided" and n >= PAIRS_FOR_A_SPREAD else None
    needed = _seeds(plannable, max(abs(mean), smallest_difference), n, comparisons)
    success = success_interval(wins * n, n)
    return Comparison(
        *pair,
        n_pairs=n,
        mean_difference=mean,
        ci_low=low,
        ci_high=high,
        p_value=tested.p_value,
        p_adjusted=tested.p_adjusted,
        p_equivalent=tested.p_equivalent,
        probability_better=wins,
        success_low=success[0],
        success_high=success[1],
        smallest_p=smallest_p(n),
        smallest_difference=smallest_difference,
        detectable_difference=None if spread is None else detectable_difference(spread, n, comparisons),
        seeds_needed=needed[0],
        seeds_low=needed[1],
        seeds_high=needed[2],
        comparisons=comparisons,
        agreeing=int(np.sum(np.sign(differences) == np.sign(mean))) if mean else 0,
        all_equal=all_equal,
        negligible=tested.p_equivalent < ALPHA,
        verdict=tested.verdict,
        decision=tested.decision,
    )


def _seeds(
    std: float | None, difference: float, n: int, comparisons: int
) -> tuple[int, int, int] | tuple[None, None, None]:
    """Numbers of pairs that detect a difference, for the observed spread of n pairs and either end of its interval."""
    if std is None:
        return None, None, None
    needed, low, high = (seeds_needed(value, difference, comparisons) for value in (std, *spread_interval(std, n)))
    return needed, low, high


def _check(results: Mapping[str, Mapping[int, float]], baseline: str) -> None:
    if not results.get(baseline):
        raise HarnessError(f"the baseline {baseline!r} has no results; run it with the other variants' seeds")
    for variant, runs in results.items():
        for seed, value in runs.items():
            if not math.isfinite(value):
                raise HarnessError(
                    f"results must be finite; variant {variant!r}, seed {seed} has {value}: "
                    "repeat that run, or compare without this variant"
                )
        if not runs.keys() & results[baseline].keys():
            raise HarnessError(
                f"a variant must share seeds with its baseline; {variant!r} has {sorted(runs)} and "
                f"{baseline!r} {sorted(results[baseline])}: run both with the same seeds"
            )
