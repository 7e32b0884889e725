"""The numbers of a report as data frames, which are also its CSV files."""

from collections.abc import Mapping, Sequence

import pandas as pd

from harness.evidence import metrics
from harness.records.events import EpochDone
from harness.records.record import Record
from harness.records.results import result, scale
from reports.measured import PLAIN, POINTS, Measured, Unit
from reports.select import Selection
from reports.statistics import Comparison, summarize


def results(selection: Selection, name: str | None = None) -> dict[str, dict[int, float]]:
    """Variant → seed → a metric (by default the primary one), in percent if it is a fraction.

    Raises:
        HarnessError: see `harness.records.results.result`.
    """
    name = name or selection.design.primary_metric
    return {
        variant: {record.seed: scale(name) * result(record, name) for record in records}
        for variant, records in selection.variants.items()
    }


def held_out(selection: Selection) -> bool:
    """True if every run has validation scores."""
    return all(done.validation is not None for record in selection.records for done in record.epochs)


def chosen(record: Record) -> EpochDone | None:
    """The first epoch with the highest validation accuracy; None if the run has no validation images."""
    scored = [(done.validation.accuracy, done) for done in record.epochs if done.validation]
    return max(scored, key=lambda pair: pair[0])[1] if len(scored) == len(record.epochs) else None


def runs_frame(selection: Selection) -> pd.DataFrame:
    """One row per run, the content of `runs.csv`; accuracies are fractions. The primary metric has a column."""
    frame = pd.DataFrame([_run(number, record) for number, record in enumerate(selection.records, 1)])
    primary = selection.design.primary_metric
    if primary not in frame.columns and len(frame):
        frame.insert(3, primary, [result(record, primary) for record in selection.records])
    return frame


def _run(number: int, record: Record) -> dict[str, object]:
    last, end, pick = record.epochs[-1], record.finished, chosen(record)
    assert end is not None
    return {
        "run": f"R{number}",
        "variant": record.variant,
        "seed": record.seed,
        "test_accuracy": last.test.accuracy,
        "test_loss": last.test.loss,
        "validation_accuracy": last.validation.accuracy if last.validation else None,
        "validation_loss": last.validation.loss if last.validation else None,
        "train_accuracy": last.train.accuracy,
        "train_loss": last.train.loss,
        "chosen_epoch": pick.epoch if pick else None,
        "chosen_test_accuracy": pick.test.accuracy if pick else None,
        "best_test_accuracy": max(done.test.accuracy for done in record.epochs),
        "epochs": len(record.epochs),
        "train_seconds": round(end.train_seconds, 2),
        "evaluate_seconds": round(end.evaluate_seconds, 2),
        "images_per_second": round(record.started.data.train_images * len(record.epochs) / end.train_seconds, 1),
        "peak_memory_megabytes": round(end.peak_memory_bytes / 1e6, 1),
        "lr_found": record.lr_found.suggestion if record.lr_found else None,
        "parameters": record.started.model.parameters,
        "multiply_adds": record.started.model.multiply_adds,
        "receptive_field": record.started.model.receptive_field,
        "run_key": record.key,
        "run_id": record.id,
        "commit": record.started.environment["commit"],
        "weights_sha256": end.weights_sha256,
    }


SPREAD: Mapping[str, float] = {
    "test_accuracy": 100,
    "test_loss": 1,
    "validation_accuracy": 100,
    "validation_loss": 1,
    "train_accuracy": 100,
    "train_loss": 1,
    "chosen_test_accuracy": 100,
    "best_test_accuracy": 100,
    "train_seconds": 1,
    "evaluate_seconds": 1,
    "images_per_second": 1,
    "peak_memory_megabytes": 1,
}
"""Columns of `runs.csv` whose mean and standard deviation are in `summary.csv`, with the factor for display."""


def summary_frame(selection: Selection) -> pd.DataFrame:
    """One row per variant, the content of `summary.csv`; accuracies in percent, mean and std of the primary metric."""
    frame, rows = runs_frame(selection), []
    for variant, runs in results(selection).items():
        group, primary = frame[frame["variant"] == variant], summarize(list(runs.values()))
        row: dict[str, object] = {"variant": variant, "n": primary.n, "metric": selection.design.primary_metric}
        row |= {"mean": primary.mean, "std": primary.std, "low": primary.low, "high": primary.high}
        for column, factor in SPREAD.items():
            if group[column].notna().all():
                made = summarize([factor * float(value) for value in group[column]])
                row |= {f"{column}_mean": made.mean, f"{column}_std": made.std}
        first = group.iloc[0]
        row |= {name: first[name] for name in ("parameters", "multiply_adds", "receptive_field")}
        rows.append(row)
    return pd.DataFrame(rows)


def same_weights(selection: Selection, variant: str) -> bool:
    """True if each run of the variant has exactly the same weights as the baseline's run with its seed."""
    base = {record.seed: record.finished for record in selection.variants[selection.baseline]}
    pairs = [(record.finished, base.get(record.seed)) for record in selection.variants[variant]]
    return all(a and b and a.weights_sha256 == b.weights_sha256 for a, b in pairs)


def measured(selection: Selection) -> Measured:
    """The primary metric of all runs with a result."""
    return measured_by(selection, selection.design.primary_metric)


def measured_by(selection: Selection, name: str) -> Measured:
    """Any metric, such as "test_loss", of all runs with a result."""
    design = selection.design
    return Measured(
        results=results(selection, name),
        baseline=selection.baseline,
        metric=name.replace("_", " "),
        variants=design.variants,
        smallest_difference=design.smallest_difference_points,
        every_pair=design.compare == "all",
        looks=design.looks,
        seeds=design.seeds,
        unit=unit(name),
        lower_is_better=not metrics.of_primary(name).higher_is_better,
    )


def unit(name: str) -> Unit:
    """The unit in which results of a primary metric and their differences are written."""
    return POINTS if metrics.of_primary(name).fraction else PLAIN


def unpaired(selection: Selection) -> tuple[str, ...]:
    """Variants that share no seed with the baseline and therefore cannot be compared with it."""
    return measured(selection).unpaired


def comparisons(selection: Selection) -> tuple[Comparison, ...]:
    """Comparisons of every paired variant with the baseline, by the primary metric."""
    return measured(selection).compared()


def every_comparison(selection: Selection) -> tuple[Comparison, ...]:
    """`comparisons`, followed by all pairs of other variants if the design compares all with each other."""
    return measured(selection).every_comparison()


def comparisons_frame(made: Sequence[Comparison]) -> pd.DataFrame:
    """One row per comparison, the content of `comparisons.csv`; differences in the unit of the results."""
    columns = ["variant", "baseline", "n_pairs", "mean_difference", "ci_low", "ci_high", "p_value"]
    columns += ["p_adjusted", "p_equivalent", "smallest_p", "probability_better", "success_low", "success_high"]
    columns += ["detectable_difference"]
    columns += ["seeds_needed", "seeds_low", "seeds_high", "verdict"]
    return pd.DataFrame([{name: getattr(c, name) for name in columns} for c in made], columns=columns)
