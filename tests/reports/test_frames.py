"""CSV rows from invented runs whose numbers are known."""

from pathlib import Path

import pytest

from harness.values import HarnessError
from reports import frames
from reports.select import Selection
from reports.statistics import compare
from tests.reports import records


def with_validation(folder: Path) -> Selection:
    """Two variants with one seed each: "group" is ahead on validation images, whatever it does on test images."""
    asked = records.design(seeds=(0,)).model_copy(update={"primary_metric": "validation_accuracy"})
    made = [
        records.record(folder, "batch", 0, validation=(0.5, 0.4)),
        records.record(folder, "group", 0, validation=(0.6, 0.6)),
    ]
    return records.arranged(made, asked)


def test_the_result_is_the_last_epoch(tmp_path: Path) -> None:
    """Results are the last epoch's test accuracy in percent, never the best one's."""
    selection = records.selection(tmp_path)
    for record in selection.records:
        record.__dict__["epochs"] = [records.epoch(1, 0.99), *record.epochs[1:]]
        assert frames.results(selection)[record.variant][record.seed] == 100 * record.correct.mean()
        assert record.epochs[-1].test.accuracy == pytest.approx(record.correct.mean())


def test_summary_is_the_mean_and_spread_over_seeds(tmp_path: Path) -> None:
    """`summary.csv` has n, mean and the n-1 standard deviation of `runs.csv`."""
    selection = records.selection(tmp_path)
    runs, summary = frames.runs_frame(selection), frames.summary_frame(selection)
    assert list(runs["run"]) == ["R1", "R2", "R3", "R4", "R5", "R6"]
    for _, row in summary.iterrows():
        values = 100 * runs[runs["variant"] == row["variant"]]["test_accuracy"].to_numpy(dtype=float)
        assert (row["n"], row["metric"]) == (3, "test_accuracy")
        assert (row["mean"], row["low"], row["high"]) == pytest.approx((values.mean(), values.min(), values.max()))
        assert row["test_accuracy_mean"] == pytest.approx(values.mean())
        assert row["std"] == row["test_accuracy_std"] == pytest.approx(values.std(ddof=1))


def test_csv_columns_are_those_that_readers_rely_on(tmp_path: Path) -> None:
    """The names that are promised are there, in their order."""
    selection = records.selection(tmp_path)
    comparisons = frames.comparisons_frame(compare(frames.results(selection), "batch", 0.5))
    assert {"variant", "seed", "test_accuracy", "run_id", "commit"} <= set(frames.runs_frame(selection))
    summary = list(frames.summary_frame(selection))
    assert [name for name in summary if name in ("variant", "n", "mean", "std")] == ["variant", "n", "mean", "std"]
    promised = ["variant", "baseline", "n_pairs", "mean_difference", "ci_low", "ci_high", "p_value", "p_adjusted"]
    assert list(comparisons)[: len(promised)] == promised
    assert list(comparisons)[-1] == "verdict"
    assert list(comparisons["variant"]) == ["group"]


def test_the_declared_metric_is_the_result(tmp_path: Path) -> None:
    """With validation images and that metric, results and summary speak of the last validation accuracy."""
    selection = with_validation(tmp_path)
    assert frames.results(selection) == {"batch": {0: 40.0}, "group": {0: 60.0}}
    assert list(frames.summary_frame(selection)["mean"]) == [40.0, 60.0]
    assert list(frames.summary_frame(selection)["metric"]) == ["validation_accuracy"] * 2
    assert frames.results(selection, "test_accuracy")["batch"][0] == 100 * selection.records[0].correct.mean()


def test_validation_chooses_the_epoch_and_test_only_scores_it(tmp_path: Path) -> None:
    """The first epoch of the highest validation accuracy is chosen, although the second does better on test images."""
    selection = with_validation(tmp_path)
    runs = frames.runs_frame(selection)
    assert list(runs["chosen_epoch"]) == [1, 1]
    for record, accuracy in zip(selection.records, runs["chosen_test_accuracy"], strict=True):
        assert accuracy == record.epochs[0].test.accuracy < record.epochs[1].test.accuracy
    assert frames.held_out(selection)
    assert not frames.held_out(records.selection(tmp_path))
    assert frames.runs_frame(records.selection(tmp_path))["chosen_epoch"].isna().all()


def test_a_metric_of_images_that_were_not_held_out_is_refused(tmp_path: Path) -> None:
    """Runs recorded without validation images cannot answer by them: one line, with what to set."""
    asked = records.design().model_copy(update={"primary_metric": "validation_accuracy"})
    selection = records.arranged([records.record(tmp_path, "batch", 0)], asked)
    with pytest.raises(HarnessError) as refused:
        frames.results(selection)
    assert str(refused.value) == (
        f"`primary_metric` is 'validation_accuracy', but run {selection.records[0].key} held no images out; "
        "set data.validation_fraction above 0 and run again"
    )
