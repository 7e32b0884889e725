"""The numbers of a report as rows: what its CSV files hold. Pure: selections in, data frames out."""

from collections.abc import Sequence

import pandas as pd

from harness.record import Record
from reports.select import Selection
from reports.statistics import Comparison, summarize

METRICS = {"test_accuracy": ("test", "accuracy"), "validation_accuracy": ("validation", "accuracy")}


def metric(record: Record, name: str) -> float:
    """A run's result: the metric after its last epoch, as a fraction."""
    split, field = METRICS[name]
    return float(getattr(getattr(record.epochs[-1], split), field))


def results(selection: Selection) -> dict[str, dict[int, float]]:
    """Variant → seed → the primary metric in percent."""
    name = selection.design.primary_metric
    return {
        variant: {record.seed: 100 * metric(record, name) for record in records}
        for variant, records in selection.variants.items()
    }


def runs_frame(selection: Selection) -> pd.DataFrame:
    """One row a run: what `runs.csv` holds."""
    rows = []
    for number, record in enumerate(selection.records, 1):
        last, end = record.epochs[-1], record.finished
        assert end is not None
        rows.append(
            {
                "run": f"R{number}",
                "variant": record.variant,
                "seed": record.seed,
                "test_accuracy": last.test.accuracy,
                "test_loss": last.test.loss,
                "validation_accuracy": last.validation.accuracy if last.validation else None,
                "train_accuracy": last.train.accuracy,
                "train_loss": last.train.loss,
                "best_test_accuracy": max(done.test.accuracy for done in record.epochs),
                "epochs": len(record.epochs),
                "train_seconds": round(end.train_seconds, 2),
                "evaluate_seconds": round(end.evaluate_seconds, 2),
                "images_per_second": round(
                    record.started.data.train_images * len(record.epochs) / end.train_seconds, 1
                ),
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
        )
    return pd.DataFrame(rows)


def summary_frame(selection: Selection) -> pd.DataFrame:
    """One row a variant: what `summary.csv` holds; accuracies in percent."""
    frame, rows = runs_frame(selection), []
    for variant in selection.variants:
        group = frame[frame["variant"] == variant]
        row: dict[str, object] = {"variant": variant, "n": len(group)}
        for column, scale in (
            ("test_accuracy", 100),
            ("test_loss", 1),
            ("train_accuracy", 100),
            ("train_loss", 1),
            ("best_test_accuracy", 100),
            ("train_seconds", 1),
            ("images_per_second", 1),
            ("peak_memory_megabytes", 1),
        ):
            made = summarize([scale * float(value) for value in group[column]])
            row |= {f"{column}_mean": made.mean, f"{column}_std": made.std}
        first = group.iloc[0]
        row |= {name: first[name] for name in ("parameters", "multiply_adds", "receptive_field")}
        rows.append(row)
    return pd.DataFrame(rows)


def comparisons_frame(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row a comparison: what `comparisons.csv` holds; differences in percentage points."""
    columns = ["variant", "baseline", "n_pairs", "mean_difference", "ci_low", "ci_high", "p_value", "p_holm"]
    columns += ["smallest_p", "probability_better", "detectable_difference", "seeds_needed", "verdict"]
    return pd.DataFrame([{name: getattr(c, name) for name in columns} for c in comparisons], columns=columns)
