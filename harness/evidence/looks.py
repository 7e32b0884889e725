"""Looks that are paid for: decide after some seeds, and after more, with one error of 5% over all looks and variants.

An exact nested sign-flip test spends its level over declared looks (Lan & DeMets 1983, Biometrika 70:659, with the
Pocock-like function). Patterns that were rejected at a look stay rejected in whatever way they go on; at each look the
most extreme of the others join them, ties whole, while the share stays within what is spent by then. The data are one
of the patterns, so without a difference they are rejected with at most that share. Variants are corrected by closed
testing: one is shown to differ once every set of variants that holds it is rejected. Equivalence is two one-sided tests
of the same form, each variant at an equal share of the level. Futility only ever stops, so it shows nothing wrongly.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.evidence.signs import ALPHA, beyond, one_sided, statistics, tabulate
from harness.values import SpecError

LOOKS = (7, 10, 14, 20)
"""Numbers of seeds: six pairs cannot pass a look, and twenty are the most of which every pattern is tried."""
HOPELESS = 0.1
"""Below this chance that the last look shows a difference or equivalence, further seeds are futile."""

_NORMAL = NormalDist()

Outcome = Literal["better", "worse", "equivalent", "futile", "open"]
_Differences = Mapping[str, Mapping[int, float]]
_Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Decision:
    """What the looks so far say of one variant."""

    variant: str
    outcome: Outcome
    """"futile": neither a difference nor equivalence is likely to be shown; "open": further seeds may tell."""
    seeds: int
    """Of the look that decided; of the latest look while open, 0 before the first."""
    spent: float
    """Share of the error that was spent by that look, 0..1."""
    reason: str
    """In words, without the variant's name."""


def spend(share: float, alpha: float = ALPHA) -> float:
    """How much of alpha may be spent once this share of all seeds is there: alpha ln(1 + (e - 1) share)."""
    return alpha * math.log(1 + (math.e - 1) * min(1.0, share))


def check_looks(looks: Sequence[int]) -> None:
    """Raise SpecError unless looks are increasing numbers of seeds, each of at least 2."""
    if not looks or list(looks) != sorted(set(looks)) or looks[0] < 2:
        raise SpecError(f"`looks` must be increasing numbers of seeds from 2 on; got {tuple(looks)}: try {LOOKS}")


def decide(
    differences: _Differences,
    seeds: Sequence[int],
    looks: Sequence[int],
    smallest_difference: float,
    alpha: float = ALPHA,
) -> dict[str, Decision]:
    """What every variant's differences from the baseline show at the latest look that their seeds reach.

    All looks are gone through from the first, so the same differences always give the same decisions. A variant that
    was decided may stop: seeds that it lacks later count as no difference.

    Args:
        differences: variant → seed → variant minus baseline; every variant that is compared, also one without any.
        seeds: in the order in which they were or will be run; a look at n is a look at the first n.
        looks: the declared numbers of seeds; the last is the greatest number that will be run.
        smallest_difference: the smallest that matters, above 0, in the differences' unit.

    Raises:
        SpecError: looks are not increasing, or differences hold a seed that `seeds` does not.
    """
    check_looks(looks)
    if unknown := {seed for found in differences.values() for seed in found} - set(seeds):
        raise SpecError(f"differences must be of the seeds {list(seeds)}; got also {sorted(unknown)}")
    made = {v: Decision(v, "open", 0, 0.0, f"the first look is at {looks[0]} seeds") for v in differences}
    reached = [look for look in looks if look <= len(seeds)]
    tests = _Tests(differences, seeds, looks, alpha)
    for at, look in enumerate(reached):
        for row, variant in enumerate(differences):
            if made[variant].outcome == "open":
                outcome, reason = _judge(tests, row, at, smallest_difference)
                made[variant] = Decision(variant, outcome, look, spend(look / looks[-1], 1.0), reason)
    return made


class _Tests:
    """The nested tests of one table of differences; what has been rejected is worked out when it is asked for."""

    def __init__(self, differences: _Differences, seeds: Sequence[int], looks: Sequence[int], alpha: float):
        self.table, self.there = tabulate(differences, seeds)
        self.looks, self.alpha = looks, alpha
        self.statistics = cache(lambda at: statistics(self.table[:, : looks[at]], of=looks[-1]))
        self.rejected, self.within = cache(self._rejected), cache(self._within)

    def differs(self, row: int, at: int) -> bool:
        """Whether every set of variants that holds this one has been rejected, the largest first."""
        others = [other for other in range(len(self.table)) if other != row]
        sets = (c for size in range(len(others), -1, -1) for c in itertools.combinations(others, size))
        return all(self.rejected(frozenset((row, *chosen)), at)[0] for chosen in sets)

    def equivalent(self, row: int, at: int, margin: float) -> bool:
        """Whether the difference is shown to be both below the margin and above its negative."""
        return all(self.within(row, at, side * margin)[0] for side in (1, -1))

    def _rejected(self, chosen: frozenset[int], at: int) -> _Mask:
        if at and (before := self.rejected(chosen, at - 1))[0]:
            return before  # so is the data's pattern, whatever comes
        found = self.statistics(at)[sorted(chosen)].max(axis=0)
        return self._add(self.rejected(chosen, at - 1) if at else np.zeros(1, dtype=bool), found, at, self.alpha)

    def _within(self, row: int, at: int, bound: float) -> _Mask:
        if at and (before := self.within(row, at - 1, bound))[0]:
            return before
        n = self.looks[at]
        below = np.where(self.there[row, :n], math.copysign(1, bound) * (bound - self.table[row, :n]), 0.0)
        found = one_sided(below[None], of=self.looks[-1])[0]
        before = self.within(row, at - 1, bound) if at else np.zeros(1, dtype=bool)
        return self._add(before, found, at, self.alpha / len(self.table))

    def _add(self, before: _Mask, found: NDArray[np.float64], at: int, alpha: float) -> _Mask:
        mask = np.tile(before, len(found) // len(before))
        live = np.flatnonzero(~mask)
        share = spend(self.looks[at] / self.looks[-1], alpha)
        mask[live[beyond(found[live], math.floor(share * len(found)) - int(mask.sum()))]] = True
        return mask


def _judge(tests: _Tests, row: int, at: int, margin: float) -> tuple[Outcome, str]:
    look, last = tests.looks[at], tests.looks[-1]
    values = tests.table[row, :look][tests.there[row, :look]]
    if tests.differs(row, at):
        return "better" if values.mean() > 0 else "worse", f"shown at the look at {look} seeds"
    if tests.equivalent(row, at, margin):
        return "equivalent", f"shown to differ by less than {margin:g} at the look at {look} seeds"
    if look == last:
        return "open", f"not decided at the last look, at {look} seeds"
    if (chance := likely(values, last, margin, tests.alpha / len(tests.table))) < HOPELESS:
        return "futile", (
            f"at the look at {look} seeds the chance that {last} would show a difference or equivalence was "
            f"{chance:.0%}, if it goes on as it began"
        )
    return "open", f"the next look is at {tests.looks[at + 1]} seeds"


def likely(values: NDArray[np.float64], last: int, margin: float, alpha: float) -> float:
    """The chance that a difference or equivalence is shown once there are `last` pairs, if the present trend goes on.

    Conditional power of a normal mean by its B-value (Lan & Wittes 1988, Biometrics 44:579): an approximation, which
    is only used to stop. 1.0 where a spread is not known.

    Args:
        values: the differences so far, (pairs,).
        alpha: the level of one comparison's two-sided test.
    """
    n = len(values)
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    if error <= 0:
        return 1.0
    mean, share = abs(float(values.mean())), n / last
    shown = _reached(mean / error, share, _NORMAL.inv_cdf(1 - alpha / 2))
    return max(shown, _reached((margin - mean) / error, share, _NORMAL.inv_cdf(1 - alpha)))


def _reached(z: float, share: float, critical: float) -> float:
    return _NORMAL.cdf((z / math.sqrt(share) - critical) / math.sqrt(max(1 - share, 1e-12)))
