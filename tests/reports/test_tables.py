"""Tables from invented runs whose numbers are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.records.events import LRFound
from harness.records.record import Record
from reports import frames, tables, training
from reports.markdown import number
from tests.reports import records
from tests.reports.test_frames import with_validation


def test_results_carry_their_spread_gap_and_best_on_test(tmp_path: Path) -> None:
    """Mean ± spread of the last epoch; the best epoch on test data stands apart, and is named for what it is."""
    selection = records.selection(tmp_path)
    for record in selection.records:
        record.__dict__["epochs"] = [records.epoch(1, 0.99), *record.epochs[1:]]
    table = tables.variants_table(selection)
    values = np.array(list(frames.results(selection)["batch"].values()))
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["test accuracy %"] == f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"
    assert row["gap, points"] == "+1.00"
    assert row["best on test %"] == "99.00"
    assert "which is biased upwards" in table.caption
    assert "validation accuracy %" not in row


def test_validation_results_come_first_where_there_are_any(tmp_path: Path) -> None:
    """With held-out images there is a fair choice of an epoch, in a column of its own."""
    selection = with_validation(tmp_path)
    table = tables.variants_table(selection)
    assert table.columns[2] == "validation accuracy %"
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["validation accuracy %"] == "40.00"
    assert row["test accuracy %, chosen epoch"] == f"{100 * selection.records[0].epochs[0].test.accuracy:.2f}"
    assert "Chosen epoch: each run's best by the validation images" in table.caption
    assert tables.runs_table(selection).columns[3] == "validation accuracy %"


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ((0.0, 0.0), ""),
        ((0.2, 0.2), " Train loss includes label smoothing, test loss does not."),
        (
            (0.2, 0.0),
            " Train loss includes label smoothing, test loss does not; as it differs, the variants' train losses are "
            "not comparable.",
        ),
    ],
)
def test_train_losses_of_other_smoothing_are_said_not_to_compare(
    tmp_path: Path, rates: tuple[float, float], said: str
) -> None:
    selection = records.selection(tmp_path, seeds=(0,))
    for record, rate in zip(selection.records, rates, strict=True):
        spec = record.started.spec
        recipe = spec.recipe.model_copy(update={"label_smoothing": rate})
        update = {"spec": spec.model_copy(update={"recipe": recipe})}
        record.__dict__["started"] = record.started.model_copy(update=update)
    assert tables.smoothing(selection) == said
    assert said in tables.variants_table(selection).caption


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (1.0, "1.000"),
        (0.0312, "0.031"),
        (0.001, "0.001"),
        (0.0, "< 0.001"),
        (0.05, "0.050"),
        (51 / 1024, "0.0498"),
    ],
)
def test_a_p_value_is_never_shown_as_zero_nor_as_the_bound_that_it_keeps(p: float, shown: str) -> None:
    """Below a thousandth only that is said; the cell still sorts as a number."""
    assert tables.p_value(p) == shown
    assert number(shown) is not None


def test_a_consequence_of_the_factor_is_shown_with_it(tmp_path: Path) -> None:
    """Another norm may mean another number of parameters: what differs besides the field itself is said."""
    selection = records.selection(tmp_path)
    assert [row[0] for row in tables.parameters_table(selection).rows] == ["model.norm"]
    for record in selection.variants["group"]:
        bigger = record.started.model.model_copy(update={"parameters": 126_296})
        record.__dict__["started"] = record.started.model_copy(update={"model": bigger})
    rows = tables.parameters_table(selection).rows
    assert rows[1] == ("parameters (a consequence)", "31,216", "126,296")


def test_time_to_accuracy_is_the_first_epoch_that_reaches_it(tmp_path: Path) -> None:
    """With 2 s an epoch and the level reached in the second, every run takes 2 epochs and 4 s."""
    selection = records.selection(tmp_path)
    lowest = min(record.epochs[-1].test.accuracy for record in selection.records)
    highest_half = max(record.epochs[0].test.accuracy for record in selection.records)
    table = training.speed_table(selection)
    levels = [level for level in training.LEVELS if highest_half < level <= lowest and f"{level:.0%}" in table.columns]
    column = table.columns.index(f"{levels[0]:.0%}")
    assert [row[column] for row in table.rows] == ["2.0 (4.0 s)", "2.0 (4.0 s)"]


def test_suggested_rates_show_their_spread_over_seeds(tmp_path: Path) -> None:
    """Least, median and greatest suggestion of a variant's range tests."""
    made: list[Record] = []
    for seed, rate in enumerate((0.02, 0.01, 0.08)):
        run = records.record(tmp_path, "batch", seed)
        found = LRFound(time=1001.0, lrs=(rate,), losses=(1.0,), suggestion=rate, seconds=1.0)
        made.append(Record(run.id, run.key, (run.events[0], found, *run.events[1:]), run.predictions))
    table = training.lr_finder_table(records.arranged(made, records.design()))
    assert table.rows == [("batch", 3, "1.00e-02", "2.00e-02", "8.00e-02")]


def test_published_results_stand_beside_ours(tmp_path: Path) -> None:
    """The seed's figure, ours, and the difference between the two, with the data set that ours is of."""
    selection = records.selection(tmp_path)
    table = tables.published_table(selection)
    ours = np.mean(list(frames.results(selection)["batch"].values()))
    assert table.columns[2] == "here %, on digits"
    assert table.rows[0][0] == "batch"
    assert table.rows[0][1] == "75.77"
    assert table.rows[0][3] == f"{ours - 75.77:+.2f}"
    assert not table.caption


def test_beside_published_results_stands_what_was_changed(tmp_path: Path) -> None:
    """Five epochs beside a published 24 are no repetition; the images' name stands in the column's title."""
    selection = records.selection(tmp_path)
    widths = {"model.width": (None, 16), "model.bias": (True, False)}
    fields = {"data.name": ("cifar10", "digits"), "epochs": (24, 5)} | widths
    design = selection.design.model_copy(update={"changed": fields})
    changed = replace(selection, summary=selection.summary.model_copy(update={"design": design}))
    assert tables.published_table(changed).caption == "Not as in the experiment's file: epochs, model."


@pytest.mark.parametrize(
    ("mean", "std", "shown"),
    [
        (430.7, 105.5, "430 ± 110"),
        (2440.3, 66.1, "2,440 ± 66"),
        (4.0, 0.0, "4.0"),
        (4.123, 0.0996, "4.12 ± 0.10"),
        (2691.8, None, "2,700"),
        (0.0, None, "0"),
        (30.123, float("nan"), "30"),
    ],
)
def test_a_measurement_has_the_digits_that_its_spread_leaves(mean: float, std: float | None, shown: str) -> None:
    """Two significant digits of the spread; of a single measurement, whose spread nobody knows, two of its own."""
    assert tables.rounded(mean, std) == shown
