"""The table of secondary metrics, computed from the test logits that every run saves."""

import pandas as pd

from harness.evidence import metrics
from harness.evidence.metrics import Metric
from harness.records.results import result
from reports.document import Cell, Table
from reports.frames import measured_by
from reports.measured import Measured
from reports.select import Selection
from reports.statistics import summarize
from reports.tables import rounded, spread


def others(selection: Selection) -> tuple[Metric, ...]:
    """The metrics that apply to this number of classes, except the primary one."""
    return tuple(metric for metric, problem in _tried(selection) if not problem)


def _tried(selection: Selection) -> list[tuple[Metric, str | None]]:
    """Each metric except the primary one, with the reason why it is left out, or None."""
    classes, primary = len(selection.records[0].started.data.classes), selection.design.primary_metric
    found = [m for m in metrics.every() if m.least_classes <= classes and f"test_{m.name}" != primary]
    return [(metric, metric.problem(classes)) for metric in found]


def frame(selection: Selection) -> pd.DataFrame:
    """One row per run and one column per metric, the content of `metrics.csv`; fractions are not in percent."""
    rows = []
    for number, record in enumerate(selection.records, 1):
        row: dict[str, object] = {"run": f"R{number}", "variant": record.variant, "seed": record.seed}
        rows.append(row | {metric.name: result(record, f"test_{metric.name}") for metric in others(selection)})
    return pd.DataFrame(rows)


def table(selection: Selection) -> Table:
    """A row per metric and variant: mean ± standard deviation, and difference from the baseline with its interval."""
    rows: list[tuple[Cell, ...]] = []
    for metric in others(selection):
        found = measured_by(selection, f"test_{metric.name}")
        better = "higher" if metric.higher_is_better else "lower"
        rows += [_row(metric, better, found, variant) for variant in found.results]
    caption = (
        "On the test images after the last epoch, computed from the logits that every run saves. These metrics are "
        "secondary: each interval is for one variant and one metric alone, uncorrected, so among many rows some "
        "exclude 0 by chance. Differences: variant minus baseline, paired by seed; those of percentages are points. "
        "Balanced, macro and worst: over classes, each with the same weight; classes without test images do not count."
    )
    caption += "".join(f" Left out: {problem}." for _, problem in _tried(selection) if problem)
    if metrics.BROKEN:
        caption += f" Left out, because it cannot be imported: {'; '.join(metrics.BROKEN.values())}."
    columns = ("metric", "better", "variant", "mean ± standard deviation", "difference", "95% interval")
    return Table(columns, rows, caption)


def _row(metric: Metric, better: str, found: Measured, variant: str) -> tuple[Cell, ...]:
    made = summarize(list(found.results[variant].values()))
    mean = spread(made.mean, made.std, 2) if found.unit.sign else rounded(made.mean, made.std)
    title = f"{metric.words} {found.unit.sign}".rstrip()
    if variant == found.baseline or variant in found.unpaired:
        return title, better, variant, mean, None, None
    (alone,) = found.beside(variant).compared()
    low, high = alone.ci_low, alone.ci_high
    interval = None if low is None or high is None else f"{found.unit.signed(low)} to {found.unit.signed(high)}"
    return title, better, variant, mean, found.unit.signed(alone.mean_difference), interval
