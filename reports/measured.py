"""Results by variant and seed, from this harness or another program, with everything needed to compare variants."""

from dataclasses import dataclass, replace

import numpy as np

from reports.statistics import Comparison, Results, compare


@dataclass(frozen=True)
class Unit:
    """The unit in which results and their differences are written."""

    sign: str
    """Sign after a result: "%" or nothing."""
    one: str
    """Unit after a difference of 1."""
    many: str
    """Unit after any other difference, and in titles of columns and axes."""

    def plain(self, value: float) -> str:
        """Format a number: two decimals for points, otherwise four significant digits."""
        return f"{value:.2f}" if self.sign else f"{value:.4g}"

    def of(self, title: str) -> str:
        """The title of a column or axis with the unit, such as "difference, points"."""
        return f"{title}, {self.many}" if self.many else title

    def signed(self, value: float) -> str:
        """Like `plain`, with an explicit sign."""
        return f"{'-' if value < 0 else '+'}{self.plain(abs(value))}"


POINTS = Unit("%", "point", "points")
PLAIN = Unit("", "", "")
"""Unit of metrics that are not shares, whose numbers are shown without a unit."""


@dataclass(frozen=True)
class Measured:
    """The results of all runs by one metric, and how variants are to be compared."""

    results: Results
    """Results of the variants that have any; the baseline always has some."""
    baseline: str
    metric: str
    """Name of the metric in words: "test accuracy"."""
    variants: tuple[str, ...]
    """All declared variants."""
    smallest_difference: float
    """The smallest difference that matters, in the unit of the differences."""
    unit: Unit = POINTS
    lower_is_better: bool = False
    every_pair: bool = False
    """True if all variants are compared with each other, as one family."""
    looks: tuple[int, ...] = ()
    """Declared numbers of seeds for looks; empty if the number of seeds was fixed."""
    seeds: tuple[int, ...] = ()
    """The seeds in the order in which they were run; by default sorted."""

    @property
    def best(self) -> tuple[str, ...]:
        """The variants with the best mean; if several are tied, the baseline first."""
        sign = -1 if self.lower_is_better else 1
        means = {variant: sign * float(np.mean(list(runs.values()))) for variant, runs in self.results.items()}
        top = max(means.values())
        level = [variant for variant, mean in means.items() if np.isclose(mean, top, rtol=1e-12, atol=0)]
        return tuple(sorted(level, key=lambda variant: variant != self.baseline))

    @property
    def unpaired(self) -> tuple[str, ...]:
        """Variants that share no seed with the baseline and therefore cannot be compared with it."""
        base = self.results[self.baseline].keys()
        return tuple(variant for variant, runs in self.results.items() if not runs.keys() & base)

    def beside(self, variant: str) -> "Measured":
        """The results of this variant and the baseline only, whose comparison then needs no correction."""
        pair = (self.baseline, variant)
        alone = {name: self.results[name] for name in pair}
        return replace(self, results=alone, variants=pair, every_pair=False, looks=())

    def compared(self) -> tuple[Comparison, ...]:
        """Compare every paired variant with the baseline, corrected for all comparisons.

        Differences are variant minus baseline; "better" and "worse" depend on the direction of the metric.

        Raises:
            HarnessError: see `reports.statistics.compare`.
        """
        return tuple(c for c in self.every_comparison() if c.baseline == self.baseline)

    def every_comparison(self) -> tuple[Comparison, ...]:
        """`compared`, followed by all pairs of other variants if `every_pair` is set."""
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
    """Restore the signs of the differences in a comparison that was made with negated results."""
    low, high = (None if end is None else -end for end in (c.ci_high, c.ci_low))
    return replace(c, mean_difference=0.0 - c.mean_difference, ci_low=low, ci_high=high)
