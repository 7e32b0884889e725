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
    MOST_SEEDS,
    bca_interval,
    detectable_difference,
    holm,
    probability_of_superiority,
    seeds_needed,
    sign_flip_p,
    smallest_p,
    subtract,
)

Verdict = Literal["better", "worse", "equivalent", "not decided"]

PAIRS_FOR_EQUIVALENCE = 6


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
    """95% interval of the mean difference; None where so few pairs cannot give one (see `bca_interval`)."""
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
    """Pairs of seeds that would show smallest_difference four times in five; None at a single pair, whose spread is
    unknown."""
    fewest_pairs: int
    """With fewer, no difference can be shown."""
    negligible: bool
    """The 90% interval lies within ±smallest_difference: whatever the verdict, it hardly matters."""
    verdict: Verdict


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
    results: Mapping[str, Mapping[int, float]],
    baseline: str,
    smallest_difference: float,
    higher_is_better: bool = True,
    alpha: float = 0.05,
) -> tuple[Comparison, ...]:
    """Every other variant against the baseline, in the order of `results` (variant → seed → value).

    "better" and "worse" need p_holm < alpha. Otherwise "equivalent" needs 6 pairs and a 90% interval within
    ±smallest_difference; this is said of each variant alone, without correction. All else is "not decided". A
    difference may be both shown and too small to matter: its verdict is its sign, and `negligible` is set.

    Raises:
        HarnessError: no results of the baseline, a result that is not finite, no seed in common with the baseline.
    """
    _check(results, baseline)
    others = [variant for variant in results if variant != baseline]
    differences = [paired(results[variant], results[baseline]) for variant in others]
    p_values = [sign_flip_p(array) for array in differences]
    smallest = holm([smallest_p(len(array)) for array in differences])
    hardest = alpha / max(1, len(others))  # Holm's first step
    made = []
    for variant, array, p_value, p_holm, least in zip(
        others, differences, p_values, holm(p_values), smallest, strict=True
    ):
        superiority = probability_of_superiority(list(results[variant].values()), list(results[baseline].values()))
        level = abs(array.sum()) <= 1e-9 * np.abs(array).sum()  # rounding decides no sign
        mean = 0.0 if level else float(array.mean())
        narrow = bca_interval(array, 0.90)
        negligible = narrow is not None and max(map(abs, narrow)) < smallest_difference
        low, high = bca_interval(array) or (None, None)
        std = summarize(array.tolist()).std
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
                probability_better=superiority if higher_is_better else 1 - superiority,
                smallest_p=least,
                smallest_difference=smallest_difference,
                detectable_difference=None if std is None else detectable_difference(std, len(array), alpha=hardest),
                seeds_needed=None if std is None else seeds_needed(std, smallest_difference, alpha=hardest),
                fewest_pairs=seeds_needed(0.0, smallest_difference, alpha=hardest),
                negligible=negligible,
                verdict=_verdict(p_holm < alpha, (mean > 0) == higher_is_better, negligible, len(array)),
            )
        )
    return tuple(made)


def explain(comparison: Comparison, unit: str = "points") -> str:
    """The comparison as one plain sentence; differences are in `unit`."""
    c = comparison
    size, matters = measured(abs(c.mean_difference), unit), measured(c.smallest_difference, unit)
    evidence = f"p = {_number(c.p_holm, bound=0.05)} after Holm, {c.n_pairs} pairs of seeds"
    if c.verdict in ("better", "worse"):
        interval = f"95% interval {_number(c.ci_low)} to {_number(c.ci_high)}, " if c.ci_low is not None else ""
        practical = f"; less than the {matters} that matter" if c.negligible else ""
        return f"{c.variant} is {size} {c.verdict} than {c.baseline} ({interval}{evidence}){practical}."
    if c.verdict == "equivalent":
        names = f"{c.variant} and {c.baseline}"
        return f"{names} are equivalent: the 90% interval of their difference lies within ±{matters} ({evidence})."
    if c.smallest_p >= 0.05:
        pairs = "1 pair" if c.n_pairs == 1 else f"{c.n_pairs} pairs"
        reason = f"but {pairs} of seeds cannot show a difference (the smallest p possible is {_number(c.smallest_p)})"
    else:
        reason = f"within what chance does ({evidence})"
    side = "level with" if c.mean_difference == 0 else f"{size} {'below' if c.mean_difference < 0 else 'above'}"
    return f"Not decided: {c.variant} came out {side} {c.baseline}, {reason}; {_next_step(c, unit)}."


def measured(value: float, unit: str = "points") -> str:
    """`0.5 points`, `1 point`."""
    text = _number(value)
    return f"{text} {unit.removesuffix('s') if text == '1' else unit}"


def _next_step(c: Comparison, unit: str) -> str:
    if c.seeds_needed is None:
        return f"run at least {c.fewest_pairs} seeds"
    if c.detectable_difference is not None and c.seeds_needed <= c.n_pairs:
        return f"these seeds would show {measured(c.detectable_difference, unit)}"
    count = f"{MOST_SEEDS:,} seeds or more" if c.seeds_needed == MOST_SEEDS else f"about {c.seeds_needed:,} seeds"
    return f"{count} would show {measured(c.smallest_difference, unit)}"


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


def _number(value: float | None, bound: float = math.inf) -> str:
    """Two significant digits, or as many as show that it is below `bound`, and a true minus: −1.9, 0.031, 12."""
    assert value is not None
    texts = (np.format_float_positional(value, d, fractional=False, unique=False, trim="-") for d in range(2, 18))
    return next(text for text in texts if value >= bound or float(text) < bound).replace("-", "−")
