"""Results by variant and seed, whoever measured them: all that comparing variants needs to know."""

from dataclasses import dataclass, replace

import numpy as np

from reports.statistics import Comparison, Results, compare


@dataclass(frozen=True)
class Unit:
    """How results and their differences are written."""

    sign: str
    """Behind a result: "%", or nothing."""
    one: str
    """Behind a difference of 1."""
    many: str
    """Behind any other difference, and in the titles of columns and axes."""

    def plain(self, value: float) -> str:
        """0.35 points; of a metric that is no share four significant digits."""
        return f"{value:.2f}" if self.sign else f"{value:.4g}"

    def of(self, title: str) -> str:
        """ "difference, points": the title of a column or an axis of differences."""
        return f"{title}, {self.many}" if self.many else title

    def signed(self, value: float) -> str:
        """As `plain`, with its sign."""
        return f"{'-' if value < 0 else '+'}{self.plain(abs(value))}"


POINTS = Unit("%", "point", "points")
PLAIN = Unit("", "", "")
"""Of a metric that is no share: its numbers stand alone."""


@dataclass(frozen=True)
class Measured:
    """One metric of every run."""

    results: Results
    """Of the variants that have any, at least the baseline's."""
    baseline: str
    metric: str
    """In words: "test accuracy"."""
    variants: tuple[str, ...]
    """All that were declared."""
    smallest_difference: float
    """The smallest difference that matters, in the unit of differences."""
    unit: Unit = POINTS
    lower_is_better: bool = False
    every_pair: bool = False
    """Whether all variants are compared with each other, in one family."""
    looks: tuple[int, ...] = ()
    """The numbers of seeds at which results were to be looked at; empty if the number of seeds was fixed."""
    seeds: tuple[int, ...] = ()
    """In the order in which they were run; by default sorted."""

    @property
    def best(self) -> tuple[str, ...]:
        """The variants with the best mean: several where they are level, the baseline first."""
        sign = -1 if self.lower_is_better else 1
        means = {variant: sign * float(np.mean(list(runs.values()))) for variant, runs in self.results.items()}
        top = max(means.values())
        level = [variant for variant, mean in means.items() if np.isclose(mean, top, rtol=1e-12, atol=0)]
        return tuple(sorted(level, key=lambda variant: variant != self.baseline))

    @property
    def unpaired(self) -> tuple[str, ...]:
        """Variants that share no seed with the baseline, and so cannot be compared with it."""
        base = self.results[self.baseline].keys()
        return tuple(variant for variant, runs in self.results.items() if not runs.keys() & base)

    def beside(self, variant: str) -> "Measured":
        """The variant and the baseline alone: what is compared then is corrected for nothing."""
        pair = (self.baseline, variant)
        alone = {name: self.results[name] for name in pair}
        return replace(self, results=alone, variants=pair, every_pair=False, looks=())

    def compared(self) -> tuple[Comparison, ...]:
        """Every variant but the unpaired against the baseline, corrected for all comparisons that are made.

        Differences keep their sign, variant minus baseline; "better" and "worse" are as the metric means them.

        Raises:
            HarnessError: see `compare`.
        """
        return tuple(c for c in self.every_comparison() if c.baseline == self.baseline)

    def every_comparison(self) -> tuple[Comparison, ...]:
        """As `compared`, and with `every_pair` then the pairs of the others."""
        sign = -1 if self.lower_is_better else 1
        paired = {
            variant: {seed: sign * value for seed, value in runs.items()}
            for variant, runs in self.results.items()
            if variant not in self.unpaired
        }
        made = compare(
            paired,
            self.baseline,
            self.smallest_difference,
            every_pair=self.every_pair,
            looks=self.looks,
            seeds=self.seeds,
        )
        return tuple(map(_mirrored, made)) if self.lower_is_better else made


def _mirrored(c: Comparison) -> Comparison:
    """A comparison of negated results, its differences with their own signs again."""
    low, high = (None if end is None else -end for end in (c.ci_high, c.ci_low))
    return replace(c, mean_difference=0.0 - c.mean_difference, ci_low=low, ci_high=high)
