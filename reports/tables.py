"""The tables of a report: the numbers of `frames` as readers see them. Pure: selections in, tables out."""

from collections.abc import Sequence

import pandas as pd

from reports import guard
from reports.document import Table
from reports.frames import summary_frame
from reports.select import Selection
from reports.statistics import Comparison


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


def spread(mean: float, std: float | None, digits: int) -> str:
    """75.12 ± 0.31; the mean alone for a single run."""
    return f"{mean:.{digits}f}" + ("" if std is None or pd.isna(std) else f" ± {std:.{digits}f}")


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
