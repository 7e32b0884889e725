"""Compares recipes: what runs with several seeds say about the difference between two variants.

Variants are run with the same seeds, so the quantity is the difference paired by seed, variant minus baseline, in the
caller's unit (reports use percentage points). The tests and intervals are those of `reports.inference`; equivalence is
two one-sided tests (Schuirmann 1987) read off a 90% interval.

`reports.checkpoints` answers another question: what these two checkpoints do on these test images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.values import HarnessError
from reports.inference import (
    bca_interval,
    detectable_difference,
    fewest_pairs,
    holm,
    probability_of_superiority,
    seeds_needed,
    sign_flip_p,
    smallest_p,
    spread_interval,
    subtract,
)

Verdict = Literal["better", "worse", "equivalent", "not decided"]

ALPHA = 0.05
PAIRS_FOR_EQUIVALENCE = 6
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
    """What the runs say about one variant against the baseline. Differences are variant minus baseline."""

    variant: str
    baseline: str
    n_pairs: int
    mean_difference: float
    ci_low: float | None
    """95% interval of the mean difference, of this comparison alone; None where so few pairs cannot give one (see
    `bca_interval`), and where all pairs are equal."""
    ci_high: float | None
    p_value: float
    p_holm: float
    probability_better: float
    """The probability that a run of the variant beats a run of the baseline, ties counted half."""
    smallest_p: float
    """The least p_holm that so many pairs, of this variant and the others, can give, whatever the difference."""
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
    fewest_pairs: int
    """With fewer, no difference can be shown."""
    comparisons: int
    """How many comparisons the p-values are corrected for, this one included."""
    agreeing: int
    """Pairs whose difference has the sign of the mean."""
    all_equal: bool
    """All pairs have the same difference: there is no spread, and so no interval."""
    negligible: bool
    """The 90% interval lies within ±smallest_difference: whatever the verdict, it hardly matters."""
    verdict: Verdict

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
    results: Mapping[str, Mapping[int, float]], baseline: str, smallest_difference: float, family: int = 0
) -> tuple[Comparison, ...]:
    """Every other variant against the baseline, in the order of `results` (variant → seed → value; higher is better).

    "better" and "worse" need p_holm < ALPHA. Otherwise "equivalent" needs 6 pairs and a 90% interval within
    ±smallest_difference; this is said of each variant alone, without correction. All else is "not decided". A
    difference may be both shown and too small to matter: its verdict is its sign, and `negligible` is set.

    Args:
        family: comparisons that the experiment declares, for which p-values are corrected although some are not made.

    Raises:
        HarnessError: no results of the baseline, a result that is not finite, no seed in common with the baseline.
    """
    _check(results, baseline)
    others = [variant for variant in results if variant != baseline]
    differences = [paired(results[variant], results[baseline]) for variant in others]
    p_values = [sign_flip_p(array) for array in differences]
    family = max(family, len(others))
    not_made = [1.0] * (family - len(others))
    smallest = holm([smallest_p(len(array)) for array in differences] + not_made)[: len(others)]
    made = []
    for variant, array, p_value, p_holm, least in zip(
        others, differences, p_values, holm(p_values + not_made)[: len(others)], smallest, strict=True
    ):
        level = abs(array.sum()) <= 1e-9 * np.abs(array).sum()  # rounding decides no sign
        mean = 0.0 if level else float(array.mean())
        narrow = bca_interval(array, 0.90)
        negligible = narrow is not None and max(map(abs, narrow)) < smallest_difference
        all_equal = len(array) > 1 and bool(np.ptp(array) <= 1e-9 * np.abs(array).max())
        low, high = (None if all_equal else bca_interval(array)) or (None, None)
        verdict = _verdict(p_holm < ALPHA, mean > 0, negligible, len(array))
        std = None if verdict != "not decided" or len(array) < PAIRS_FOR_A_SPREAD else float(array.std(ddof=1))
        planned = _seeds(std, max(abs(mean), smallest_difference), len(array), family)
        made.append(
            Comparison(
                variant=variant,
                baseline=baseline,
                n_pairs=len(array),
                mean_difference=mean,
                ci_low=low,
                ci_high=high,
                p_value=p_value,
                p_holm=p_holm,
                probability_better=probability_of_superiority(
                    list(results[variant].values()), list(results[baseline].values())
                ),
                smallest_p=least,
                smallest_difference=smallest_difference,
                detectable_difference=_detectable(array, family),
                seeds_needed=planned[0],
                seeds_low=planned[1],
                seeds_high=planned[2],
                fewest_pairs=fewest_pairs(family, ALPHA),
                comparisons=family,
                agreeing=int(np.sum(np.sign(array) == np.sign(mean))) if mean else 0,
                all_equal=all_equal,
                negligible=negligible,
                verdict=verdict,
            )
        )
    return tuple(made)


def _detectable(differences: NDArray[np.float64], comparisons: int) -> float | None:
    n = len(differences)
    return detectable_difference(float(differences.std(ddof=1)), n, alpha=ALPHA / comparisons) if n > 1 else None


def _seeds(
    std: float | None, difference: float, n: int, comparisons: int
) -> tuple[int, int, int] | tuple[None, None, None]:
    """Pairs that show a difference at Holm's first step, for the spread of n pairs and either end of its interval."""
    if std is None:
        return None, None, None
    needed, low, high = (
        seeds_needed(value, difference, alpha=ALPHA / comparisons) for value in (std, *spread_interval(std, n))
    )
    return needed, low, high


def _verdict(shown: bool, improves: bool, negligible: bool, n_pairs: int) -> Verdict:
    if shown:
        return "better" if improves else "worse"
    return "equivalent" if negligible and n_pairs >= PAIRS_FOR_EQUIVALENCE else "not decided"


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
