"""The comparisons of one experiment, tested together: p-values, verdicts and intervals that agree with each other."""

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
    """What the tests say of one comparison."""

    differences: NDArray[np.float64]
    """Of its pairs, in the order of the seeds."""
    p_value: float
    """Were it the only comparison."""
    p_adjusted: float
    """Corrected for all comparisons."""
    p_equivalent: float
    """Of "they differ by the smallest difference that matters or more", corrected for all comparisons."""
    verdict: Verdict
    bounds: Interval | None
    decision: Decision | None
    """What the declared looks decided; None where the number of seeds was fixed."""

    @property
    def mean(self) -> float:
        return mean(self.differences)


def mean(differences: NDArray[np.float64]) -> float:
    """The mean, exactly 0 where differences cancel but for rounding."""
    level = abs(differences.sum()) <= 1e-9 * np.abs(differences).sum()
    return 0.0 if level else float(differences.mean())


def judge_together(
    differences: Mapping[str, Mapping[int, float]],
    smallest_difference: float,
    looks: Sequence[int] = (),
    seeds: Sequence[int] = (),
) -> list[Tested]:
    """All comparisons, each name → seed → difference, as one family.

    "better" and "worse" need p_adjusted < ALPHA. Otherwise "equivalent" needs 6 pairs and p_equivalent < ALPHA. All
    else is "not decided". With looks the verdicts are theirs.

    Args:
        looks: the numbers of seeds at which results were to be looked at; empty if the number of seeds was fixed.
        seeds: in the order in which they were run; by default sorted.
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
