"""Sources of uncertainty of a difference: gain by pairing, and standard errors from seeds and from test images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reports.document import Table, Text
from reports.frames import results
from reports.inference import correlation_interval
from reports.measured import POINTS, Results, Unit
from reports.prose import listed
from reports.select import Selection
from reports.statistics import PAIRS_FOR_A_SPREAD, paired


@dataclass(frozen=True)
class Precision:
    """Precision of a variant's mean difference from the baseline; None if it cannot be estimated. Errors in the
    unit of the results."""

    variant: str
    pairs: int
    correlation: float | None
    """Correlation of the variant's results with the baseline's over seeds."""
    correlation_low: float | None
    correlation_high: float | None
    variance_ratio: float | None
    """Variance of the paired difference divided by that of a difference of unpaired runs."""
    seed_error: float
    """Standard error of the mean difference due to the choice of seeds."""
    image_error: float | None
    """Standard error due to the choice of test images; None if results are not of test images."""


def precisions(selection: Selection) -> list[Precision]:
    """The precision of each variant that shares at least two seeds with the baseline."""
    found = of_results(results(selection), selection.baseline)
    return [replace(each, image_error=_of_images(selection, each.variant)) for each in found]


def of_results(found: Results, baseline: str) -> list[Precision]:
    """Like `precisions`, for any results; the error from test images is then unknown."""
    return [
        _precision(variant, found[variant], found[baseline])
        for variant in found
        if variant != baseline and len(found[variant].keys() & found[baseline].keys()) > 1
    ]


def _precision(variant: str, results: Mapping[int, float], baseline: Mapping[int, float]) -> Precision:
    seeds = sorted(results.keys() & baseline.keys())
    ours, base = (np.array([side[seed] for seed in seeds]) for side in (results, baseline))
    differences, n = paired(results, baseline), len(seeds)
    r, low, high, ratio = None, None, None, None
    if n >= PAIRS_FOR_A_SPREAD and min(ours.std(), base.std()) > 1e-9:
        r = float(np.corrcoef(ours, base)[0, 1])
        low, high = correlation_interval(r, n)
        ratio = float(differences.var(ddof=1) / (ours.var(ddof=1) + base.var(ddof=1)))
    return Precision(variant, n, r, low, high, ratio, float(differences.std(ddof=1) / np.sqrt(n)), None)


def _of_images(selection: Selection, variant: str) -> float | None:
    if selection.design.primary_metric != "test_accuracy":
        return None
    runs = selection.variants
    seeds = {run.seed for run in runs[variant]} & {run.seed for run in runs[selection.baseline]}
    ours, base = (_right(selection, name, sorted(seeds)) for name in (variant, selection.baseline))
    return 100 * image_error(ours - base)


def image_error(differences: NDArray[np.float64]) -> float:
    """Standard error of a mean difference due to the choice of test images, in the unit of the differences.

    The variation between seeds is part of the seeds' error already and is subtracted: the variance between images minus
    the mean variance within an image divided by the number of seeds (one-way random effects; at least 0).

    Args:
        differences: shape (seeds, images), at least two of each.
    """
    n, images = differences.shape
    between = differences.mean(axis=0).var(ddof=1) - differences.var(axis=0, ddof=1).mean() / n
    return float(np.sqrt(max(0.0, between) / images))


def _right(selection: Selection, variant: str, seeds: Sequence[int]) -> NDArray[np.float64]:
    """1 where the run of a seed classifies a test image correctly, otherwise 0; shape (seeds, images)."""
    made = [run.seed in seeds for run in selection.variants[variant]]
    return selection.answers[variant].correct[made].astype(np.float64)


def text(selection: Selection, found: Sequence[Precision]) -> list[Text]:
    """Sentences on the gain by pairing, and on the errors from seeds and from test images."""
    said = gain(found)
    if images := [p.image_error for p in found if p.image_error is not None]:
        count, seeds = len(selection.records[0].labels), [p.seed_error for p in found]
        said.append(f"The standard error of a difference is {_span(seeds)} points from the choice of seeds,")
        said.append(f"and {_span(images)} points from the choice of test images.")
        said.append(f"Verdicts account for seeds only: they hold for these {count:,} test images.")
    return [Text(" ".join(said), selection.numbers())] if said else []


def gain(found: Sequence[Precision]) -> list[str]:
    """A sentence on the gain by pairing; none if it cannot be estimated."""
    gains = [f"{p.variance_ratio:.0%} ({p.variant})" for p in found if p.variance_ratio is not None]
    if not gains:
        return []
    return [f"Paired by seed, the difference has {listed(gains)} of the variance that unpaired runs give it."]


def table(found: Sequence[Precision], unit: Unit = POINTS) -> Table:
    """A table of the gain by pairing and the standard errors of each variant."""
    of_images = any(p.image_error is not None for p in found)
    rows = [
        (
            p.variant,
            p.pairs,
            None if p.correlation is None else f"{p.correlation:.2f}",
            None if p.correlation_low is None else f"{p.correlation_low:.2f} to {p.correlation_high:.2f}",
            None if p.variance_ratio is None else f"{p.variance_ratio:.0%}",
            unit.plain(p.seed_error),
            *([None if p.image_error is None else unit.plain(p.image_error)] if of_images else []),
        )
        for p in found
    ]
    columns = ("variant", "pairs", "correlation", "95% interval", "variance left", "error, seeds")
    columns += ("error, test images",) if of_images else ()
    return Table(
        columns,
        rows,
        "Correlation: of the variant's results with the baseline's over seeds (interval by Fisher's z). Variance left: "
        "of the paired difference, as a share of that of unpaired runs; below 100% pairing helped. Errors: standard "
        f"errors of the mean difference{f', in {unit.many}' if unit.many else ''}. A dash: fewer than "
        f"{PAIRS_FOR_A_SPREAD} pairs.",
    )


def _span(values: Sequence[float]) -> str:
    low, high = (f"{value:.2f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
