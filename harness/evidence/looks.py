"""Group-sequential tests: interim looks at declared numbers of seeds, with one error of 5% over all looks and variants.

The test is an exact nested sign-flip test with an error-spending function (Lan & DeMets 1983, Biometrika 70:659, the
Pocock-like function). A sign pattern rejected at one look stays rejected, however it continues. At each look the most
extreme of the remaining patterns are rejected too, ties all or none, as long as the share of rejected patterns does not
exceed the error spent by then. The data are one of the patterns; under the null hypothesis all patterns are equally
likely, so the data are rejected with at most that probability. Variants are corrected by closed testing: a variant is
shown to differ once every set of variants that contains it is rejected. Equivalence uses two one-sided tests of the
same form, with the level divided equally among the variants. Futility can only stop a variant, so it cannot cause a
false claim.
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
"""Default numbers of seeds: six pairs cannot pass a first look, and above twenty not all sign patterns are tried."""
HOPELESS = 0.1
"""Futility: a variant stops if the last look would show a difference or equivalence with less than this probability."""

_NORMAL = NormalDist()

Outcome = Literal["better", "worse", "equivalent", "futile", "open"]
_Differences = Mapping[str, Mapping[int, float]]
_Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Decision:
    """The outcome of the looks so far for one variant."""

    variant: str
    outcome: Outcome
    """"futile": neither a difference nor equivalence is likely to be shown; "open": more seeds may decide."""
    seeds: int
    """Number of seeds at the look that decided; while open, at the latest look (0 before the first)."""
    spent: float
    """Share (0..1) of the total error that is spent by that look."""
    reason: str
    """The reason as a phrase that does not name the variant."""


def spend(share: float, alpha: float = ALPHA) -> float:
    """The error that may be spent once this share of the seeds is complete: alpha * ln(1 + (e - 1) * share)."""
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
    """Decide every variant at the latest look that the available seeds reach.

    All looks are evaluated from the first, so the same differences always give the same decisions. A variant that was
    decided may stop: seeds that it lacks later count as no difference.

    Args:
        differences: variant → seed → variant minus baseline; variants without any difference yet are included.
        seeds: all seeds in the order in which they are run; a look at n uses the first n.
        looks: the declared numbers of seeds; the last is the largest number that will be run.
        smallest_difference: the smallest difference that matters, above 0, in the unit of the differences.

    Raises:
        SpecError: looks are not increasing, or differences contain a seed that is not in `seeds`.
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
    """The nested tests of one table of differences; the set of rejected patterns is computed on demand."""

    def __init__(self, differences: _Differences, seeds: Sequence[int], looks: Sequence[int], alpha: float):
        self.table, self.there = tabulate(differences, seeds)
        self.looks, self.alpha = looks, alpha
        self.statistics = cache(lambda at: statistics(self.table[:, : looks[at]], of=looks[-1]))
        self.rejected, self.within = cache(self._rejected), cache(self._within)

    def differs(self, row: int, at: int) -> bool:
        """True if every set of variants that contains this one is rejected; the largest set is tested first."""
        others = [other for other in range(len(self.table)) if other != row]
        sets = (c for size in range(len(others), -1, -1) for c in itertools.combinations(others, size))
        return all(self.rejected(frozenset((row, *chosen)), at)[0] for chosen in sets)

    def equivalent(self, row: int, at: int, margin: float) -> bool:
        """True if the difference is shown to be below the margin and above its negative."""
        return all(self.within(row, at, side * margin)[0] for side in (1, -1))

    def _rejected(self, chosen: frozenset[int], at: int) -> _Mask:
        if at and (before := self.rejected(chosen, at - 1))[0]:
            return before  # the pattern of the data is rejected already, and stays so
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
    """The probability that a difference or equivalence is shown at `last` pairs if the present trend continues.

    This is the conditional power of a normal mean by its B-value (Lan & Wittes 1988, Biometrics 44:579), an
    approximation that is used only to stop for futility. Returns 1.0 if the spread cannot be estimated.

    Args:
        values: the differences so far, shape (pairs,).
        last: number of pairs at the last look.
        margin: the smallest difference that matters, in the unit of the values.
        alpha: level of one comparison's two-sided test.
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
