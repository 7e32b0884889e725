"""The tables of a report's answer: the verdict of every comparison and the numbers behind it."""

from collections.abc import Sequence

from reports.document import Table
from reports.inference import rope
from reports.measured import POINTS, Measured, Unit
from reports.statistics import Comparison, paired
from reports.tables import p_value
from reports.verdicts import measured


def comparisons_table(comparisons: Sequence[Comparison], unit: Unit = POINTS) -> Table:
    """Paired differences from the baseline."""
    rows = [
        (
            c.variant,
            c.verdict,
            *_difference(c, unit),
            p_value(c.p_value),
            p_value(c.p_adjusted),
            p_value(c.p_equivalent),
            _ahead(c),
            unit.plain(c.detectable_difference) if c.detectable_difference is not None else None,
            _planned(c),
        )
        for c in comparisons
    ]
    columns = ("variant", "verdict", unit.of("difference"), "95% interval", "pairs", "p, alone", "p", "p, equivalent")
    baseline, matters = comparisons[0].baseline, measured(comparisons[0].smallest_difference, unit)
    return Table(
        (*columns, "ahead", unit.of("detectable"), "seeds needed"),
        rows,
        f"Differences: variant minus {baseline}, paired by seed. The verdict follows from p or, if it is equivalent, "
        "from p, equivalent; both are corrected for all comparisons. Each interval alone has a coverage of at least "
        "95%, and excludes 0 exactly if a difference is shown. Ahead: the number of pairs in which the variant is "
        "better, ties counted half, and the 95% interval of the probability that it is better at a new seed "
        "(Clopper-Pearson, for each comparison alone). Detectable: the true difference that this number of pairs "
        "detects with a power of 80%. Seeds needed, while nothing is decided: to detect the observed difference, or "
        f"{matters} if that is larger, with a power of 80% (in brackets: at either end of the 95% interval of the "
        "spread). Both are approximations for normal results. All terms are explained at the end.",
    )


def pairs_table(comparisons: Sequence[Comparison], unit: Unit = POINTS) -> Table:
    """Paired differences between variants other than the baseline."""
    rows = [
        (c.variant, c.baseline, c.verdict, *_difference(c, unit), p_value(c.p_adjusted), _ahead(c)) for c in comparisons
    ]
    return Table(
        ("variant", "beside", "verdict", unit.of("difference"), "95% interval", "pairs", "p", "ahead"),
        rows,
        "The other pairs of variants, in the same family of comparisons: variant minus the one beside it.",
    )


def posterior_table(found: Measured, comparisons: Sequence[Comparison]) -> Table:
    """Bayesian probabilities of each difference, shown on request (ROPE=1); verdicts do not use them."""
    results, sign = found.results, -1 if found.lower_is_better else 1
    rows = []
    for c in comparisons:
        known = c.n_pairs > 1 and not c.all_equal
        differences = sign * paired(results[c.variant], results[c.baseline]) if known else None
        chances = (None,) * 3 if differences is None else rope(differences, c.smallest_difference)
        rows.append((c.variant, c.n_pairs, *(None if p is None else f"{p:.0%}" for p in chances)))
    matters = measured(comparisons[0].smallest_difference, found.unit)
    return Table(
        ("variant", "pairs", "worse", f"within ±{matters}", "better"),
        rows,
        f"Probability that the variant is truly worse than {comparisons[0].baseline} by more than {matters}, within "
        "that of it, or better by more: "
        "Student's t about the mean, the posterior of the Bayesian t test with an uninformative prior and ρ = 0 "
        "(Benavoli et al. 2017). Each comparison alone; no verdict rests on it.",
    )


def _difference(c: Comparison, unit: Unit) -> tuple[str, str | None, int]:
    interval = None if c.ci_low is None or c.ci_high is None else f"{unit.signed(c.ci_low)} to {unit.signed(c.ci_high)}"
    return unit.signed(c.mean_difference), interval, c.n_pairs


def _ahead(c: Comparison) -> str:
    """For example "6.5 of 7 (51% to 100%)"."""
    return f"{c.probability_better * c.n_pairs:g} of {c.n_pairs} ({c.success_low:.0%} to {c.success_high:.0%})"


def _planned(c: Comparison) -> str | None:
    """For example "14 (7 to 63)"; None if no further seeds are planned."""
    return None if c.seeds_needed is None else f"{c.seeds_needed:,} ({c.seeds_low:,} to {c.seeds_high:,})"
