"""The tables of a report, formatted from the numbers of `reports.frames`."""

import math

import pandas as pd

from harness.records.results import scale
from reports import guard
from reports.document import Cell, Table
from reports.frames import held_out, runs_frame, summary_frame, unit
from reports.select import Selection


def variants_table(selection: Selection) -> Table:
    """Results after the last epoch: mean ± standard deviation over seeds."""
    primary = _own_column(selection)
    measures = [
        ("test accuracy %", "test_accuracy", 2),
        ("test loss", "test_loss", 4),
        ("train accuracy %", "train_accuracy", 2),
        ("train loss", "train_loss", 4),
    ]
    caption = "The last epoch is the result: mean ± standard deviation over seeds. Gap: train minus test accuracy."
    if held_out(selection):
        measures.insert(0, ("validation accuracy %", "validation_accuracy", 2))
        measures.append(("test accuracy %, chosen epoch", "chosen_test_accuracy", 2))
        caption += " Chosen epoch: each run's best by the validation images, which are not used for results."
    caption += f" Train: over the last epoch's images as they were trained on, during training.{smoothing(selection)}"
    caption += " Best on test: each run's best epoch by the test images themselves, which is biased upwards."
    rows = [
        (
            row["variant"],
            int(row["n"]),
            *([_mean(selection, row["mean"], row["std"])] if primary else []),
            *(spread(row[f"{column}_mean"], row[f"{column}_std"], digits) for _, column, digits in measures),
            f"{row['train_accuracy_mean'] - row['test_accuracy_mean']:+.2f}",
            f"{row['best_test_accuracy_mean']:.2f}",
        )
        for _, row in summary_frame(selection).iterrows()
    ]
    columns = ("variant", "seeds", *primary, *(title for title, _, _ in measures), "gap, points", "best on test %")
    return Table(columns, rows, caption)


def _own_column(selection: Selection) -> tuple[str, ...]:
    """The title of the primary metric's column, where it is none of the accuracies that every table has."""
    name = selection.design.primary_metric
    if name in ("test_accuracy", "validation_accuracy"):
        return ()
    return (f"{name.replace('_', ' ')} {unit(name).sign} (primary)".replace("  ", " "),)


def _mean(selection: Selection, mean: float, std: float | None) -> str:
    if unit(selection.design.primary_metric).sign:
        return spread(mean, std, 2)
    return rounded(mean, std) if std is not None else f"{mean:.4g}"


def smoothing(selection: Selection) -> str:
    """A sentence on label smoothing in the training loss; "" if it is not used."""
    rates = {record.started.spec.recipe.label_smoothing for record in selection.records}
    if rates == {0.0}:
        return ""
    alike = "" if len(rates) == 1 else "; as it differs, the variants' train losses are not comparable"
    return f" Train loss includes label smoothing, test loss does not{alike}."


def parameters_table(selection: Selection) -> Table:
    """The recipe fields in which variants differ, and the resulting size of the network."""
    variants = list(selection.variants)
    rows: list[tuple[Cell, ...]] = [
        (field, *(values[variant] for variant in variants))
        for field, values in guard.factor_values(selection.records).items()
    ]
    for name in ("parameters", "multiply_adds", "receptive_field"):
        sizes = [getattr(runs[0].started.model, name) for runs in selection.variants.values()]
        if len(set(sizes)) > 1:
            shown = (None if size is None else f"{size:,}" for size in sizes)
            rows.append((f"{name.replace('_', ' ')} (a consequence)", *shown))
    return Table(("field", *variants), rows, "All other fields of the recipe are the same for all variants.")


def published_table(selection: Selection) -> Table:
    """Published results beside ours."""
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
    changed = [field.split(".")[0] for field in selection.design.changed if field not in ("data.name", "data.title")]
    said = f"Not as in the experiment's file: {', '.join(dict.fromkeys(changed))}." if changed else ""
    return Table(("variant", "published %", f"here %, on {label}", "difference", "source"), rows, said)


def runs_table(selection: Selection) -> Table:
    """All runs, numbered R1, R2, … as in the sentences that refer to them."""
    validation, primary = held_out(selection), _own_column(selection)
    rows, name = [], selection.design.primary_metric
    for record, (_, row) in zip(selection.records, runs_frame(selection).iterrows(), strict=True):
        cells: list[Cell] = [row["run"], record.variant, record.seed]
        cells += [_mean(selection, scale(name) * row[name], None)] if primary else []
        cells += [f"{100 * row['validation_accuracy']:.2f}"] if validation else []
        cells += [f"{100 * row['test_accuracy']:.2f}", rounded(row["train_seconds"], None), record.key]
        rows.append((*cells, (record.started.environment["commit"] or "none")[:9]))
    accuracies = ("validation accuracy %", "test accuracy %") if validation else ("test accuracy %",)
    columns = ("run", "variant", "seed", *primary, *accuracies, "seconds", "run key (tag run_key in MLflow)", "commit")
    return Table(columns, rows)


def provenance_table(selection: Selection) -> Table:
    """The environment that all runs share."""
    first = guard.provenance(selection.records[0])
    others = [guard.provenance(record) for record in selection.records[1:]]
    names = ["data.label", "data.checksum", "epochs", "batch_size", "precision"]
    names += [name for name in first if name.startswith(("circumstances.", "environment.")) and first[name] is not None]
    rows = [
        (name.removeprefix("circumstances."), str(first[name]))
        for name in names
        if first[name] != "auto" and all(other.get(name) == first[name] for other in others)
    ]
    return Table(("shared by all runs", "value"), rows)


def spread(mean: float, std: float | None, digits: int) -> str:
    """For example "75.12 ± 0.31"; only the mean for a single run."""
    return f"{mean:.{digits}f}" + ("" if std is None or pd.isna(std) else f" ± {std:.{digits}f}")


def rounded(mean: float, std: float | None) -> str:
    """A measurement rounded according to its spread: "430 ± 110", "4.1 ± 0.3"; two significant digits without one."""
    values = [mean] if std is None or not std > 0 else [mean, std]
    first = float(f"{values[-1]:.1e}")  # the spread rounded to two significant digits
    places = 1 - math.floor(math.log10(abs(first))) if first else 0
    return " ± ".join(f"{round(value, places):,.{max(0, places)}f}" for value in values)


def p_value(p: float) -> str:
    """A p-value with three digits, or as many as show that it is below 0.05; never "0"."""
    if p < 0.001:
        return "< 0.001"
    return next(text for digits in range(3, 18) if float(text := f"{p:.{digits}f}") < 0.05 or p >= 0.05)
