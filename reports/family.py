"""Joint tests of all comparisons of an experiment, with consistent p-values, verdicts and intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.evidence.looks import Decision, decide
from harness.evidence.signs import ALPHA, statistics, step_down, tabulate
from reports.inference import equivalence_p, sign_flip_p
from reports.intervals import Interval, intervals

Verdict = Literal["better", "worse", "equivalent", "not decided"]

PAIRS_FOR_EQUIVALENCE = 6


@dataclass(frozen=True)
class Tested:
    """The test results of one comparison."""

    differences: NDArray[np.float64]
    """The differences of its pairs, in the order of the seeds."""
    p_value: float
    """p-value if this were the only comparison."""
    p_adjusted: float
    """p-value corrected for all comparisons."""
    p_equivalent: float
    """p-value of the hypothesis that they differ by the smallest difference that matters or more, corrected."""
    verdict: Verdict
    bounds: Interval | None
    decision: Decision | None
    """The decision by the declared looks; None if the number of seeds was fixed."""

    @property
    def mean(self) -> float:
        return mean(self.differences)


def mean(differences: NDArray[np.float64]) -> float:
    """The mean, exactly 0 if the differences cancel except for rounding errors."""
    level = abs(differences.sum()) <= 1e-9 * np.abs(differences).sum()
    return 0.0 if level else float(differences.mean())


def judge_together(
    differences: Mapping[str, Mapping[int, float]],
    smallest_difference: float,
    looks: Sequence[int] = (),
    seeds: Sequence[int] = (),
) -> list[Tested]:
    """Test all comparisons as one family.

    The verdict is "better" or "worse" if p_adjusted < ALPHA; otherwise "equivalent" if there are at least 6 pairs and
    p_equivalent < ALPHA; otherwise "not decided". If looks were declared, they decide the verdicts instead.

    Args:
        differences: comparison → seed → difference.
        smallest_difference: the smallest difference that matters.
        looks: declared numbers of seeds for looks; empty if the number of seeds was fixed.
        seeds: the seeds in the order in which they were run; by default sorted.
    """
    if not differences:
        return []
    order = [*seeds, *sorted({seed for found in differences.values() for seed in found} - set(seeds))]
    made = decide(differences, order, looks, smallest_difference) if looks else {}
    decisions = [made.get(name) for name in differences]
    rows, there = tabulate(differences, [s for s in order if any(s in found for found in differences.values())])
    alone = [sign_flip_p(row[has]) for row, has in zip(rows, there, strict=True)]
    corrected = alone if len(rows) == 1 else np.maximum(step_down(statistics(rows)), alone).tolist()
    p_values = list(zip(alone, corrected, equivalence_p(rows, there, smallest_difference).tolist(), strict=True))
    paired = [row[has] for row, has in zip(rows, there, strict=True)]
    verdicts: list[Verdict] = [
        _of_look(decision) if decision else _verdict(p, q, array)
        for decision, (_, p, q), array in zip(decisions, p_values, paired, strict=True)
    ]
    bounds = intervals(rows, there, [verdict in ("better", "worse") for verdict in verdicts])
    each = zip(paired, p_values, verdicts, bounds, decisions, strict=True)
    return [Tested(array, *ps, verdict, bound, decision) for array, ps, verdict, bound, decision in each]


def _verdict(p_adjusted: float, p_equivalent: float, differences: NDArray[np.float64]) -> Verdict:
    if p_adjusted < ALPHA:
        return "better" if mean(differences) > 0 else "worse"
    return "equivalent" if p_equivalent < ALPHA and len(differences) >= PAIRS_FOR_EQUIVALENCE else "not decided"


def _of_look(decision: Decision) -> Verdict:
    return "not decided" if decision.outcome in ("futile", "open") else decision.outcome
