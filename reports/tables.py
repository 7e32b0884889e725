"""The tables of a report, and the same numbers as CSV rows. Pure: selections in, values out."""

import itertools
from collections.abc import Sequence

import pandas as pd

from harness.record import Record
from reports import guard
from reports.document import Table
from reports.select import Selection
from reports.statistics import Comparison, summarize

METRICS = {"test_accuracy": ("test", "accuracy"), "validation_accuracy": ("validation", "accuracy")}
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Test accuracies whose first epoch is worth a column, where some variant reaches them."""


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


def variants_table(selection: Selection) -> Table:
    """Final results, last epoch, mean ± standard deviation over seeds."""
    rows = []
    for _, row in summary_frame(selection).iterrows():
        rows.append(
            (
                row["variant"],
                int(row["n"]),
                spread(row["test_accuracy_mean"], row["test_accuracy_std"], 2),
                spread(row["test_loss_mean"], row["test_loss_std"], 4),
                spread(row["train_accuracy_mean"], row["train_accuracy_std"], 2),
                spread(row["train_loss_mean"], row["train_loss_std"], 4),
                f"{row['train_accuracy_mean'] - row['test_accuracy_mean']:+.2f}",
                f"{row['best_test_accuracy_mean']:.2f}",
            )
        )
    columns = (
        "variant",
        "seeds",
        "test accuracy %",
        "test loss",
        "train accuracy %",
        "train loss",
        "gap",
        "best on test",
    )
    return Table(
        columns,
        rows,
        "The last epoch is the result: mean ± standard deviation over seeds. Gap: train minus test accuracy, points. "
        "Best on test: the mean of each run's best epoch, chosen on the test images, so too high to be a result.",
    )


def cost_table(selection: Selection) -> Table:
    """What a run of each variant costs."""
    rows = [
        (
            row["variant"],
            f"{row['parameters']:,}",
            f"{row['multiply_adds'] / 1e6:.2f}",
            "–" if pd.isna(row["receptive_field"]) else int(row["receptive_field"]),
            spread(row["train_seconds_mean"], row["train_seconds_std"], 1),
            f"{row['images_per_second_mean']:.0f}",
            f"{row['peak_memory_megabytes_mean']:.0f}",
        )
        for _, row in summary_frame(selection).iterrows()
    ]
    columns = (
        "variant",
        "parameters",
        "multiply-adds, M",
        "receptive field, px",
        "training, s",
        "images/s",
        "peak memory, MB",
    )
    return Table(columns, rows, "Per run; seconds and memory as measured on the machine named below.")


def comparisons_table(comparisons: Sequence[Comparison]) -> Table:
    """Paired differences from the baseline."""
    rows = [
        (
            c.variant,
            c.n_pairs,
            f"{c.mean_difference:+.2f}",
            f"{c.ci_low:+.2f} to {c.ci_high:+.2f}" if c.ci_low is not None and c.ci_high is not None else None,
            f"{c.p_value:.3f}",
            f"{c.p_holm:.3f}",
            f"{c.smallest_p:.3f}",
            f"{c.probability_better:.0%}",
            f"{c.detectable_difference:.2f}" if c.detectable_difference is not None else None,
            c.seeds_needed,
            c.verdict,
        )
        for c in comparisons
    ]
    columns = (
        "variant",
        "pairs",
        "difference, points",
        "95% interval",
        "p",
        "p (Holm)",
        "smallest p",
        "beats baseline",
        "detectable",
        "seeds needed",
        "verdict",
    )
    baseline = comparisons[0].baseline if comparisons else ""
    return Table(
        columns,
        rows,
        f"Variant minus {baseline}, paired by seed. Interval: BCa bootstrap, at Student's width for few pairs. p: "
        "exact two-sided sign-flip test; Holm's correction over the rows. Smallest p: the least that so many pairs and "
        "comparisons can give. Beats baseline: share of pairs of runs in which the variant is ahead. Detectable: the "
        "difference that this test shows with 80% power at this many seeds. Seeds needed: to show the smallest "
        "difference that matters.",
    )


def parameters_table(selection: Selection) -> Table:
    """Only the recipe's fields in which variants differ."""
    differing = guard.factor_values(selection.records)
    variants = list(selection.variants)
    rows = [(field, *(values[variant] for variant in variants)) for field, values in differing.items()]
    return Table(("field", *variants), rows, "Everything else in the recipe is the same for all variants.")


def published_table(selection: Selection) -> Table:
    """The seeds' published results beside ours."""
    ours = {row["variant"]: row for _, row in summary_frame(selection).iterrows()}
    rows = [
        (
            published.variant,
            f"{published.test_accuracy_percent:.2f}",
            spread(ours[published.variant]["test_accuracy_mean"], ours[published.variant]["test_accuracy_std"], 2),
            f"{ours[published.variant]['test_accuracy_mean'] - published.test_accuracy_percent:+.2f}",
            published.source,
        )
        for published in selection.design.published
        if published.variant in ours
    ]
    label = selection.records[0].started.data.label
    return Table(("variant", "published %", f"here %, on {label}", "difference", "source"), rows)


def speed_table(selection: Selection) -> Table:
    """The first epoch, and the seconds of training, at which the mean test accuracy reaches a level."""
    reached: dict[str, list[str | None]] = {}
    best = max(max(done.test.accuracy for done in record.epochs) for record in selection.records)
    levels = [level for level in LEVELS if level <= best][-4:]
    for variant, records in selection.variants.items():
        cells: list[str | None] = []
        for level in levels:
            times = [_reach(record, level) for record in records]
            known = [time for time in times if time is not None]
            if not known:
                cells.append(None)
                continue
            epochs = sum(epoch for epoch, _ in known) / len(known)
            seconds = sum(second for _, second in known) / len(known)
            missed = f", {len(known)} of {len(times)} runs" if len(known) < len(times) else ""
            cells.append(f"{epochs:.1f} ({seconds:.0f} s{missed})")
        reached[variant] = cells
    smooth = {variant: _smoothness(records) for variant, records in selection.variants.items()}
    rows = [(variant, *cells, f"{smooth[variant]:.2f}") for variant, cells in reached.items()]
    return Table(
        ("variant", *(f"{level:.0%}" for level in levels), "roughness"),
        rows,
        "First epoch (and seconds of training) at which test accuracy reaches the level, mean over runs. Roughness: "
        "how many points test accuracy loses from one epoch to the next, the mean over all epochs (0 where it rises).",
    )


def _reach(record: Record, level: float) -> tuple[int, float] | None:
    seconds = 0.0
    for done in record.epochs:
        seconds += done.train_seconds
        if done.test.accuracy >= level:
            return done.epoch, seconds
    return None


def _smoothness(records: Sequence[Record]) -> float:
    drops = []
    for record in records:
        accuracy = [100 * done.test.accuracy for done in record.epochs]
        drops += [max(0.0, before - after) for before, after in itertools.pairwise(accuracy)]
    return sum(drops) / len(drops) if drops else 0.0


def spread(mean: float, std: float | None, digits: int) -> str:
    """75.12 ± 0.31; the mean alone for a single run."""
    return f"{mean:.{digits}f}" + ("" if std is None or pd.isna(std) else f" ± {std:.{digits}f}")


def comparisons_frame(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row a comparison: what `comparisons.csv` holds; differences in percentage points."""
    columns = ["variant", "baseline", "n_pairs", "mean_difference", "ci_low", "ci_high", "p_value", "p_holm"]
    columns += ["smallest_p", "probability_better", "detectable_difference", "seeds_needed", "verdict"]
    return pd.DataFrame([{name: getattr(c, name) for name in columns} for c in comparisons], columns=columns)


def lr_finder_table(selection: Selection) -> Table:
    """What the range tests suggested, and how far seeds agree."""
    rows = []
    for variant, records in selection.variants.items():
        found = [record.lr_found.suggestion for record in records if record.lr_found]
        if found:
            rows.append(
                (variant, len(found), f"{min(found):.2e}", f"{pd.Series(found).median():.2e}", f"{max(found):.2e}")
            )
    return Table(("variant", "range tests", "least", "median", "greatest"), rows, "Suggested peak learning rates.")


def runs_table(selection: Selection) -> Table:
    """Every run: R1, R2, … as the sentences above cite them."""
    rows = [
        (
            f"R{number}",
            record.variant,
            record.seed,
            f"{100 * record.epochs[-1].test.accuracy:.2f}",
            f"{record.finished.train_seconds:.0f}" if record.finished else None,
            record.key,
            (record.started.environment["commit"] or "none")[:9],
        )
        for number, record in enumerate(selection.records, 1)
    ]
    return Table(
        ("run", "variant", "seed", "test accuracy %", "seconds", "run key (tag run_key in MLflow)", "commit"), rows
    )


def provenance_table(selection: Selection) -> Table:
    """Where the runs were made: what all of them share."""
    first = guard.provenance(selection.records[0])
    others = [guard.provenance(record) for record in selection.records[1:]]
    names = [
        "data.label",
        "data.checksum",
        "epochs",
        "batch_size",
        "precision",
        "device",
        "threads",
        "augmentation.backend",
    ]
    names += [name for name in first if name.startswith("environment.") and first[name] is not None]
    rows = [(name, str(first[name])) for name in names if all(other[name] == first[name] for other in others)]
    return Table(("shared by all runs", "value"), rows)
