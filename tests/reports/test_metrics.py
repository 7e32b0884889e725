"""The table of metrics, and a metric other than accuracy as the primary one: values, directions, units, words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.evidence.metrics import registry
from reports import frames, metrics, note, prose, tables
from reports.build import build
from reports.select import Selection
from reports.statistics import summarize
from tests.reports import records

SEEDS = (0, 1, 2, 3, 4, 5)


def selection(folder: Path, primary: str, seeds: tuple[int, ...] = SEEDS, smallest: float = 0.5) -> Selection:
    made = records.selection(folder, seeds=seeds)
    changes = {"primary_metric": primary, "smallest_difference_points": smallest}
    design = made.design.model_copy(update=changes)
    return replace(made, summary=made.summary.model_copy(update={"design": design}))


def test_every_metric_but_the_primary_one_has_a_row_a_variant(tmp_path: Path) -> None:
    """Mean and difference as computed by hand; losses in their own unit; no top 5 of 3 classes."""
    made = selection(tmp_path, "test_accuracy")
    table = metrics.table(made)
    named = {(row[0], row[2]): row for row in table.rows}
    assert {title for title, _ in named} == {
        *("balanced accuracy %", "calibration error %", "loss", "macro f1 %", "worst class accuracy %"),
    }
    values = {
        name: np.array([registry._METRICS["balanced_accuracy"].compute(r.logits, r.labels) for r in runs])
        for name, runs in made.variants.items()
    }
    base, group = 100 * values["batch"], 100 * values["group"]
    assert named["balanced accuracy %", "batch"][3:] == (f"{base.mean():.2f} ± {base.std(ddof=1):.2f}", None, None)
    assert named["balanced accuracy %", "group"][4] == f"{(group - base).mean():+.2f}"
    low, high = (float(end) for end in str(named["balanced accuracy %", "group"][5]).split(" to "))
    assert low < (group - base).mean() < high
    assert named["loss", "group"][1] == "lower"
    assert "%" not in str(named["loss", "group"][3])
    assert "uncorrected" in (table.caption or "")


def test_the_rows_of_metrics_csv_are_fractions(tmp_path: Path) -> None:
    made = selection(tmp_path, "test_macro_f1")
    frame = metrics.frame(made)
    assert list(frame.columns[:4]) == ["run", "variant", "seed", "accuracy"]
    assert "macro_f1" not in frame.columns
    assert frame["accuracy"].tolist() == [r.epochs[-1].test.accuracy for r in made.records]


def test_a_metric_that_cannot_be_imported_is_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = selection(tmp_path, "test_accuracy", seeds=(0,))
    monkeypatch.setitem(
        registry.BROKEN, "harness/evidence/metrics/mine.py", "harness/evidence/metrics/mine.py (ZeroDivisionError: x)"
    )
    said = "Left out, because it cannot be imported: harness/evidence/metrics/mine.py (ZeroDivisionError: x)."
    assert (metrics.table(made).caption or "").endswith(said)


def test_a_metric_that_gives_no_number_is_left_out_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = selection(tmp_path, "test_accuracy", seeds=(0,))
    mine = registry.Metric("mine", lambda logits, targets: float("nan"), True, True, 2)
    monkeypatch.setitem(registry._METRICS, "mine", mine)
    table = metrics.table(made)
    assert "mine %" not in {row[0] for row in table.rows}
    assert "mine" not in metrics.frame(made).columns
    assert (table.caption or "").endswith(f" Left out: {mine.problem(3)}.")


def test_a_fraction_as_the_primary_metric_is_in_percent_and_points(tmp_path: Path) -> None:
    made = selection(tmp_path, "test_macro_f1")
    measured = frames.measured(made)
    group = summarize(list(measured.results["group"].values()))
    computed = [100 * registry._METRICS["macro_f1"].compute(r.logits, r.labels) for r in made.variants["group"]]
    assert group.mean == pytest.approx(np.mean(computed))
    (headline, *_) = prose.answer(made, frames.comparisons(made))
    assert f"{group.mean:.2f} ± {group.std:.2f}% test macro f1 over 6 seeds" in headline.text


def test_of_a_loss_the_lowest_is_best_and_differences_have_its_own_unit(tmp_path: Path) -> None:
    """The variant of the lower loss came out lowest; its difference is negative; no "%" and no "points"."""
    made = selection(tmp_path, "test_loss", smallest=0.01)
    records_ = [replace(r, events=(*r.events[:2], _with_loss(r), r.events[3])) for r in made.records]
    made = replace(made, records=tuple(records_))
    (only,) = frames.comparisons(made)
    assert only.mean_difference == pytest.approx(-0.1)
    said = [text.text for text in prose.answer(made, (only,))]
    assert said[0].startswith("group came out lowest, which is best: 0.95")
    assert said[1].startswith("group is 0.1 better than batch (")
    assert not any("%" in text.replace("95% interval", "").replace("90% interval", "") for text in said)
    assert not any("point" in text for text in said)
    assert "Differences below 0.01 are taken not to matter." in prose.setting(made).text
    assert "| test loss |" in note._runs(made, "1").splitlines()[0].replace("  ", " ")


def _with_loss(record: records.Record):
    """The last epoch with a test loss of 0.9 and a little more a seed; 0.1 and a trifle more in batch."""
    last = record.epochs[-1]
    loss = 0.9 + 0.02 * record.seed + (0.1 + 1e-4 * record.seed - 2.5e-4 if record.variant == "batch" else 0)
    return last.model_copy(update={"test": last.test.model_copy(update={"loss": loss})})


@pytest.mark.parametrize(
    ("primary", "title"), [("test_macro_f1", "test macro f1 % (primary)"), ("test_loss", "test loss (primary)")]
)
def test_the_tables_of_variants_and_runs_and_runs_csv_have_the_primary_metric(
    tmp_path: Path, primary: str, title: str
) -> None:
    """A reader of the verdict finds the numbers that it is about."""
    made = selection(tmp_path, primary, smallest=0.01)
    values = frames.results(made)["group"]
    runs, variants = tables.runs_table(made), tables.variants_table(made)
    assert (runs.columns[3], variants.columns[2]) == (title, title)
    shown = {row[2]: float(str(row[3])) for row in runs.rows if row[1] == "group"}
    assert shown == pytest.approx(values, abs=0.006)
    (row,) = [row for row in variants.rows if row[0] == "group"]
    assert float(str(row[2]).split(" ± ")[0]) == pytest.approx(np.mean(list(values.values())), abs=0.006)
    kept = frames.runs_frame(made)
    of_group = kept[kept["variant"] == "group"][primary]
    assert (100 * of_group if "%" in title else of_group).tolist() == pytest.approx(list(values.values()))


@pytest.mark.parametrize("primary", ["test_loss", "test_worst_class_accuracy"])
def test_a_whole_report_by_another_metric(tmp_path: Path, primary: str) -> None:
    made = selection(tmp_path, primary, seeds=(0, 1))
    build([made], tmp_path / "out", [], [None])
    text = (tmp_path / "out" / "report.md").read_text()
    assert "By other metrics" in text
    assert f"Every run's final {primary.replace('_', ' ')}" in text
    assert (tmp_path / "out" / "metrics.csv").is_file()
