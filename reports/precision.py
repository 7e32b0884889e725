"""Where a difference's uncertainty comes from: what pairing gains, and the errors of seeds and images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.records.record import Record
from reports.document import Table, Text
from reports.frames import results
from reports.inference import correlation_interval
from reports.prose import listed
from reports.select import Selection
from reports.statistics import PAIRS_FOR_A_SPREAD, paired


@dataclass(frozen=True)
class Precision:
    """Of one variant's mean difference from the baseline; None where the runs do not tell. Errors are in points."""

    variant: str
    pairs: int
    correlation: float | None
    """Of the variant's results with the baseline's, over seeds."""
    correlation_low: float | None
    correlation_high: float | None
    variance_ratio: float | None
    """The variance of the paired difference over that of a difference of unpaired runs."""
    seed_error: float
    """Standard error of the mean difference, were other seeds drawn."""
    image_error: float | None
    """The same, were other test images drawn; None where results are not of test images."""


def precisions(selection: Selection) -> list[Precision]:
    """One for each variant that shares at least two seeds with the baseline: one seed tells of no error."""
    found, base = results(selection), selection.baseline
    return [
        _precision(selection, variant, found)
        for variant in found
        if variant != base and len(found[variant].keys() & found[base].keys()) > 1
    ]


def _precision(selection: Selection, variant: str, found: dict[str, dict[int, float]]) -> Precision:
    seeds = sorted(found[variant].keys() & found[selection.baseline].keys())
    ours, base = (np.array([found[name][seed] for seed in seeds]) for name in (variant, selection.baseline))
    differences, n = paired(found[variant], found[selection.baseline]), len(seeds)
    r, low, high, ratio = None, None, None, None
    if n >= PAIRS_FOR_A_SPREAD and min(ours.std(), base.std()) > 1e-9:
        r = float(np.corrcoef(ours, base)[0, 1])
        low, high = correlation_interval(r, n)
        ratio = float(differences.var(ddof=1) / (ours.var(ddof=1) + base.var(ddof=1)))
    error = float(differences.std(ddof=1) / np.sqrt(n))
    images = None
    if selection.design.primary_metric == "test_accuracy":
        right = [_right(selection.variants[name], seeds) for name in (variant, selection.baseline)]
        images = 100 * image_error(right[0] - right[1])
    return Precision(variant, n, r, low, high, ratio, error, images)


def image_error(differences: NDArray[np.float64]) -> float:
    """Standard error of a mean over test images that is theirs alone, in the differences' unit.

    What seeds do to each image is in the seeds' error already, and is taken off: the variance between images less the
    mean variance within one, over seeds, by their number (one-way random effects; 0 where that is negative).

    Args:
        differences: (seeds, images), at least two of each.
    """
    n, images = differences.shape
    between = differences.mean(axis=0).var(ddof=1) - differences.var(axis=0, ddof=1).mean() / n
    return float(np.sqrt(max(0.0, between) / images))


def _right(runs: Sequence[Record], seeds: Sequence[int]) -> NDArray[np.float64]:
    """Whether the run of each seed is right on each test image, (seeds, images), as 0 or 1."""
    return np.stack([run.correct for run in runs if run.seed in seeds]).astype(np.float64)


def text(selection: Selection, found: Sequence[Precision]) -> list[Text]:
    """What pairing gained, and how far test images matter beside seeds."""
    said = []
    if gains := [f"{p.variance_ratio:.0%} ({p.variant})" for p in found if p.variance_ratio is not None]:
        said.append(f"Paired by seed, the difference has {listed(gains)} of the variance that unpaired runs give it.")
    if images := [p.image_error for p in found if p.image_error is not None]:
        count, seeds = len(selection.records[0].labels), [p.seed_error for p in found]
        said.append(f"The standard error of a difference is {_span(seeds)} points from seeds.")
        said.append(f"Other test images would add {_span(images)} points.")
        said.append(f"The verdicts count the seeds alone: they hold on these {count:,} test images.")
    return [Text(" ".join(said), selection.numbers())] if said else []


def table(found: Sequence[Precision]) -> Table:
    """Pairing and errors, variant by variant."""
    rows = [
        (
            p.variant,
            p.pairs,
            None if p.correlation is None else f"{p.correlation:.2f}",
            None if p.correlation_low is None else f"{p.correlation_low:.2f} to {p.correlation_high:.2f}",
            None if p.variance_ratio is None else f"{p.variance_ratio:.0%}",
            f"{p.seed_error:.2f}",
            None if p.image_error is None else f"{p.image_error:.2f}",
        )
        for p in found
    ]
    columns = ("variant", "pairs", "correlation", "95% interval", "variance left", "error, seeds", "error, test images")
    return Table(
        columns,
        rows,
        "Correlation: of the variant's results with the baseline's over seeds (interval by Fisher's z). Variance left: "
        "of the paired difference, as a share of that of unpaired runs; below 100% pairing helped. Errors: standard "
        f"errors of the mean difference, in points. A dash: fewer than {PAIRS_FOR_A_SPREAD} pairs.",
    )


def _span(values: Sequence[float]) -> str:
    low, high = (f"{value:.2f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
