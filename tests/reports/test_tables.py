"""Tables and CSV rows from invented runs whose numbers are known."""

from pathlib import Path

import numpy as np
import pytest

from reports import frames, tables, training
from reports.figures import pareto
from reports.statistics import compare
from tests.reports import records


def test_the_result_is_the_last_epoch(tmp_path: Path) -> None:
    """Results are the last epoch's test accuracy in percent, never the best one's."""
    selection = records.selection(tmp_path)
    for record in selection.records:
        assert frames.results(selection)[record.variant][record.seed] == 100 * record.correct.mean()
        assert record.epochs[-1].test.accuracy == pytest.approx(record.correct.mean())


def test_summary_is_the_mean_and_spread_over_seeds(tmp_path: Path) -> None:
    """`summary.csv` has n, mean and the n-1 standard deviation of `runs.csv`."""
    selection = records.selection(tmp_path)
    runs, summary = frames.runs_frame(selection), frames.summary_frame(selection)
    assert list(runs["run"]) == ["R1", "R2", "R3", "R4", "R5", "R6"]
    for _, row in summary.iterrows():
        values = 100 * runs[runs["variant"] == row["variant"]]["test_accuracy"].to_numpy(dtype=float)
        assert row["n"] == 3
        assert row["test_accuracy_mean"] == pytest.approx(values.mean())
        assert row["test_accuracy_std"] == pytest.approx(values.std(ddof=1))


def test_csv_columns_are_those_that_readers_rely_on(tmp_path: Path) -> None:
    """The names that the issue promises are there."""
    selection = records.selection(tmp_path)
    comparisons = frames.comparisons_frame(compare(frames.results(selection), "batch", 0.5))
    assert {"variant", "seed", "test_accuracy", "run_id", "commit"} <= set(frames.runs_frame(selection))
    assert {"variant", "n", "test_accuracy_mean", "test_accuracy_std"} <= set(frames.summary_frame(selection))
    promised = {"variant", "baseline", "n_pairs", "mean_difference", "ci_low", "ci_high", "p_value", "p_holm"}
    assert promised | {"verdict"} <= set(comparisons)
    assert list(comparisons["variant"]) == ["group"]


def test_time_to_accuracy_is_the_first_epoch_that_reaches_it(tmp_path: Path) -> None:
    """With 2 s an epoch and the level reached in the second, every run takes 2 epochs and 4 s."""
    selection = records.selection(tmp_path)
    lowest = min(record.epochs[-1].test.accuracy for record in selection.records)
    highest_half = max(record.epochs[0].test.accuracy for record in selection.records)
    table = training.speed_table(selection)
    levels = [level for level in training.LEVELS if highest_half < level <= lowest and f"{level:.0%}" in table.columns]
    column = table.columns.index(f"{levels[0]:.0%}")
    assert [row[column] for row in table.rows] == ["2.0 (4 s)", "2.0 (4 s)"]


def test_published_results_stand_beside_ours(tmp_path: Path) -> None:
    """The seed's figure, ours, and the difference between the two, with the data set that ours is of."""
    selection = records.selection(tmp_path)
    table = tables.published_table(selection)
    ours = np.mean(list(frames.results(selection)["batch"].values()))
    assert table.columns[2] == "here %, on digits"
    assert table.rows[0][0] == "batch"
    assert table.rows[0][1] == "75.77"
    assert table.rows[0][3] == f"{ours - 75.77:+.2f}"


def test_pareto_front_keeps_what_nothing_beats() -> None:
    """A point is dropped when another costs no more and is at least as good."""
    cost, value = np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([5.0, 7.0, 6.0, 7.0, 9.0])
    assert pareto(cost, value) == [0, 1, 4]
