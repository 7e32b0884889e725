"""Compares recipes: what runs with several seeds say about the difference between two variants.

Variants are run with the same seeds, so the quantity is the difference paired by seed, variant minus baseline, in the
caller's unit (reports use percentage points). All comparisons of an experiment are tested at once by flipping the signs
of whole seeds (`harness.evidence.signs`); the intervals are of the same test (`reports.intervals`).

`reports.checkpoints` answers another question: what these two checkpoints do on these test images.
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
"""Variant → seed → result, in the metric's unit."""

PAIRS_FOR_A_SPREAD = 4
"""With fewer, a standard deviation is too uncertain to plan with: at 3 pairs the true one may be 6 times as large."""


@dataclass(frozen=True)
class Summary:
    """One variant's results over its seeds: their count, mean, standard deviation (n - 1), least and greatest."""

    n: int
    mean: float
    std: float | None
    """None for a single result: one run says nothing about the spread."""
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """What the runs say about one variant against another, the baseline. Differences are variant minus baseline."""

    variant: str
    baseline: str
    n_pairs: int
    mean_difference: float
    ci_low: float | None
    """95% interval of the mean difference by the test that decides: it leaves 0 out if, and only if, the verdict is
    better or worse. None where so few pairs cannot give one (see `intervals`), and where all pairs are equal."""
    ci_high: float | None
    p_value: float
    """Of this comparison, were it the only one."""
    p_adjusted: float
    """Corrected for all comparisons."""
    p_equivalent: float
    """Of "they differ by smallest_difference or more", corrected for all comparisons."""
    probability_better: float
    """The share of pairs in which the variant is ahead, ties counted half: its chance to be so at a new seed."""
    success_low: float
    """95% interval of that chance, of this comparison alone."""
    success_high: float
    smallest_p: float
    """The least p that so many pairs can give, whatever the difference and the other comparisons."""
    smallest_difference: float
    """The smallest difference that matters, as the experiment declared it."""
    detectable_difference: float | None
    """True difference that these pairs would show four times in five; None if they can show none."""
    seeds_needed: int | None
    """Pairs of seeds that would show `planned_difference` four times in five; None once decided, and below
    PAIRS_FOR_A_SPREAD pairs, of which nothing can be planned."""
    seeds_low: int | None
    """seeds_needed were the spread at either end of its own 95% interval."""
    seeds_high: int | None
    comparisons: int
    """How many comparisons the p-values are corrected for, this one included."""
    agreeing: int
    """Pairs whose difference has the sign of the mean."""
    all_equal: bool
    """All pairs have the same difference: there is no spread, and so no interval."""
    negligible: bool
    """Shown to differ by less than smallest_difference: whatever the verdict, it hardly matters."""
    verdict: Verdict
    decision: Decision | None = None
    """What the declared looks decided, where there are any: the verdict is theirs."""

    @property
    def planned_difference(self) -> float:
        """The difference that further seeds are planned for: the one seen, or the smallest that matters if larger."""
        return max(abs(self.mean_difference), self.smallest_difference)


def summarize(values: Sequence[float]) -> Summary:
    """Count, mean, spread and range of at least one result."""
    assert len(values), "a summary needs a result"
    array = np.asarray(values, dtype=np.float64)
    std = float(array.std(ddof=1)) if len(array) > 1 else None
    return Summary(len(array), float(array.mean()), std, float(array.min()), float(array.max()))


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> NDArray[np.float64]:
    """Differences (pairs,), value minus baseline, at the seeds that both have, in the order of the seeds."""
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
    """Every other variant against the baseline, in the order of `results`; with `every_pair` then all others' pairs.

    Higher is better.

    All comparisons that are made are one family, as `family.judge_together` has it. A difference may be both shown and
    too small to matter: its verdict is its sign, and `negligible` is set.

    Args:
        looks: the numbers of seeds at which results were to be looked at; empty if the number of seeds was fixed.
        seeds: in the order in which they were run; by default sorted.

    Raises:
        HarnessError: no results of the baseline, a result that is not finite, no seed in common with the baseline.
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
    """The variants that none is shown to beat, in their order: the best is among them, with the verdicts' certainty.

    Args:
        comparisons: of every pair.
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
    """Pairs that show a difference, for the spread of n pairs and either end of its interval."""
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
