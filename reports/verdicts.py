"""A comparison in sentences: the verdict, the evidence, and what more runs could show."""

import math

import numpy as np

from harness.evidence.signs import ALPHA, fewest_pairs
from reports.inference import MOST_SEEDS
from reports.measured import POINTS, Unit
from reports.statistics import Comparison


def explain(comparison: Comparison, unit: Unit = POINTS) -> str:
    """Sentences with the verdict on one variant and its evidence."""
    c = comparison
    size, matters = measured(abs(c.mean_difference), unit), measured(c.smallest_difference, unit)
    if c.verdict in ("better", "worse"):
        interval = f"95% interval {number(c.ci_low)} to {number(c.ci_high)}, " if c.ci_low is not None else ""
        practical = f"; shown to be less than the {matters} that matter" if c.negligible else ""
        said = (
            f"{c.variant} is {size} {c.verdict} than {c.baseline} ({interval}{_evidence(c, c.p_adjusted)}){practical}."
        )
    elif c.verdict == "equivalent":
        evidence = _evidence(c, c.p_equivalent)
        said = f"{c.variant} and {c.baseline} are equivalent: shown to differ by less than {matters} ({evidence})."
    else:
        side = "level with" if c.mean_difference == 0 else f"{size} {'below' if c.mean_difference < 0 else 'above'}"
        within = ", which chance can explain" if c.p_adjusted >= ALPHA else ""
        reason = f"{within} ({_evidence(c, c.p_adjusted)})"
        if c.smallest_p >= ALPHA:
            reason = f", but {_pairs(c.n_pairs)} of seeds cannot show any difference"
        said = f"Not decided: {c.variant} came out {side} {c.baseline}{reason}."
    return " ".join([said, *_agreement(c, unit), *_next_step(c, unit)])


def _evidence(c: Comparison, p_value: float) -> str:
    corrected = f" corrected for {c.comparisons} comparisons" if c.comparisons > 1 else ""
    look = " at one look" if c.decision else ""
    return f"p = {number(p_value, bound=ALPHA)}{corrected}{look}, {c.n_pairs} pairs of seeds"


def measured(value: float, unit: Unit = POINTS) -> str:
    """A value with its unit, such as "0.5 points" or "1 point"; only the number if the unit has no name."""
    text = number(value)
    return f"{text} {unit.one if text == '1' else unit.many}".rstrip()


def number(value: float | None, bound: float = math.inf) -> str:
    """Two significant digits, or as many as show that it is below `bound`, with a minus sign: "−1.9", "0.031", "12"."""
    assert value is not None
    texts = (np.format_float_positional(value, d, fractional=False, unique=False, trim="-") for d in range(2, 18))
    return next(text for text in texts if value >= bound or float(text) < bound).replace("-", "−")


def _agreement(c: Comparison, unit: Unit) -> list[str]:
    """Sentences on whether all pairs agree in sign, and whether the p-value is the smallest possible."""
    if c.all_equal:
        same = measured(abs(c.mean_difference), unit)
        same = same if c.mean_difference == 0 else f"the same {same}"
        return [f"All {c.n_pairs} pairs differ by {same}, so there is no interval."]
    if c.n_pairs < 2 or c.agreeing < c.n_pairs:
        return []
    said = f"All {c.agreeing} of {c.n_pairs} pairs agree in sign"
    if c.smallest_p < ALPHA and c.p_adjusted <= c.smallest_p and c.verdict != "equivalent":
        said += f": this p is the least that {c.n_pairs} pairs can give"
    return [f"{said}."]


def _next_step(c: Comparison, unit: Unit) -> list[str]:
    """The decision of the looks, if any; otherwise, for undecided comparisons, the minimum number of pairs and, from
    four pairs on, the number needed to detect a difference."""
    if c.decision:
        return [f"{c.decision.reason[0].upper()}{c.decision.reason[1:]}."]
    if c.verdict != "not decided":
        return []
    least = [] if c.smallest_p < ALPHA else [f"It takes at least {fewest_pairs()} pairs."]
    if c.seeds_needed is None or c.all_equal:
        return least
    if c.detectable_difference is not None and c.seeds_needed <= c.n_pairs:
        found = measured(c.detectable_difference, unit)
        return [f"So many pairs find a true difference of {found} four times in five."]
    seen = ", as seen here," if c.planned_difference > c.smallest_difference else ""
    takes = f"To show a difference of {measured(c.planned_difference, unit)}{seen} takes "
    if c.seeds_low == c.seeds_high:
        return [*least, f"{takes}{_capped(c.seeds_needed)} pairs."]
    assert c.seeds_low is not None
    assert c.seeds_high is not None
    doubt = f"As {c.n_pairs} pairs leave the spread uncertain, it may be {_capped(c.seeds_low)} to "
    return [*least, f"{takes}about {_capped(c.seeds_needed)} pairs.", f"{doubt}{_capped(c.seeds_high)}."]


def _capped(seeds: int) -> str:
    return f"{seeds:,}" if seeds < MOST_SEEDS else f"{MOST_SEEDS:,} or more"


def _pairs(n: int) -> str:
    return "1 pair" if n == 1 else f"{n} pairs"
