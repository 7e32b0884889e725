"""Results of other programs: what is read from a table, in which unit, and the one line for each way to be wrong."""

from pathlib import Path

import pytest

from harness.tracking.foreign import runs_of
from harness.tracking.tracker import Tracker
from harness.values import HarnessError
from reports.external import Asked, External, read, unit_of
from reports.external_tables import from_csv, from_mlflow
from reports.measured import PLAIN, POINTS

ROWS = "variant,seed,acc\na,0,0.70\na,1,0.72\nb,0,0.74\nb,1,0.75\n"


def _read(folder: Path, text: str, **asked: str) -> External:
    path = folder / "results.csv"
    path.write_text(text)
    return read(from_csv(path), Asked(**asked))


def test_a_table_becomes_results_in_points(tmp_path: Path) -> None:
    """Fractions are shown in percent, the first variant is the baseline, and the report is told both."""
    found = _read(tmp_path, ROWS)
    assert found.results == {"a": {0: 70.0, 1: 72.0}, "b": {0: 74.0, 1: 75.0}}
    assert (found.baseline, found.metric, found.margin, found.unit) == ("a", "acc", 0.5, POINTS)
    assert found.rule == "acc is taken as a fraction, as no value exceeds 1, and shown in percent. Higher is better."
    assert found.said == ("The baseline is a, the first variant in the table; BASELINE= names another.",)


def test_other_columns_names_and_a_metric_of_its_own_unit(tmp_path: Path) -> None:
    """Spaces around cells are none, columns go by any name, and lower may be better."""
    text = "norm, run, val_loss, note\ngn, 3, 1.25, x\nbn, 3, 0.75, y\nbn, 4, 0.5,\n"
    found = _read(tmp_path, text, variant="norm", seed="run", metric="val_loss", baseline="bn", margin="0.1", lower="1")
    assert found.results == {"gn": {3: 1.25}, "bn": {3: 0.75, 4: 0.5}}
    assert (found.metric, found.unit, found.margin, found.lower_is_better) == ("val loss", PLAIN, 0.1, True)
    assert found.said == ("bn has seed 4 and gn has not: no pair of gn and bn there.",)


@pytest.mark.parametrize(
    ("text", "asked", "said"),
    [
        (ROWS + "b,1,0.7\n", {}, "results.csv line 6: variant 'b' has seed 1 a second time; keep one of the two"),
        (ROWS + "b,2,nan\n", {"metric": "acc"},
         "results.csv line 6 (variant b, seed 2): `acc` must be a finite number below 1e100; got 'nan': repeat "
         "that run, or remove it"),
        (ROWS + "b,2,1e200\n", {"unit": "plain", "margin": "1"},
         "results.csv line 6 (variant b, seed 2): `acc` must be a finite number below 1e100; got '1e200': repeat "
         "that run, or remove it"),
        (ROWS + "b,2,\n", {"metric": "acc"},
         "results.csv line 6 (variant b, seed 2): `acc` must be a finite number below 1e100; got '': repeat "
         "that run, or remove it"),
        (ROWS + "b,x,1\n", {}, "results.csv line 6: `seed` must be a whole number; got 'x'"),
        (ROWS + ",2,1\n", {}, "results.csv line 6: `variant` must name a variant; got nothing"),
        (ROWS, {"metric": "accuracy"}, "METRIC must be a column; got 'accuracy'; did you mean 'acc'?"),
        (ROWS, {"baseline": "c"}, "BASELINE must be a variant; got 'c'; there are a, b"),
        (ROWS, {"margin": "-1"},
         "MARGIN must be the smallest difference that matters, a number above 0 in points; got '-1'"),
        (ROWS, {"unit": "points"}, "UNIT must be one of fraction, percent, plain; got 'points'"),
        (ROWS, {"lower": "yes"}, "LOWER must be 1, where lower is better, or 0; got 'yes'"),
        (ROWS.replace("acc", "loss"), {"margin": "1"},
         "METRIC 'loss' sounds as if lower were better; say LOWER=1, or LOWER=0 if it is not"),
        (ROWS.replace("acc", "bleu"), {},
         "MARGIN must be the smallest difference that matters, a number above 0 in the unit of bleu; none was given"),
        ("variant,seed,a,b\nx,0,1,2\n", {}, "METRIC must say which column holds the result; several could be it: a, b"),
        ("variant,seed,a\nx,0,y\n", {},
         "results.csv line 2 (variant x, seed 0): `a` must be a finite number below 1e100; got 'y': repeat that run, "
         "or remove it"),
        ("variant,seed,a,b\nx,0,y,z\n", {},
         "METRIC must say which column holds the result; no column is of numbers alone: a, b"),
        ("variant;seed;acc\na;0;0,5\n", {},
         "CSV results.csv must have commas between cells and points in numbers; its first line is 'variant;seed;acc': "
         "export it again"),
        ("variant,seed,acc\na,0,0.5,7\n", {},
         "results.csv line 2: every row must have 3 cells, as the first one; got 4"),
        ("variant,seed,a,a\nx,0,1,2\n", {},
         "CSV results.csv has 'a' as the name of several columns; name each once"),
        ("name,seed,a\nx,0,1\n", {},
         "VARIANT must say which column holds it, as VARIANT=name; there are name, seed, a"),
        ("params.seed,seed,variant\n1,0,1\n", {},
         "SEED must say which column holds it, as SEED=params.seed; several could be it: params.seed, seed"),
        ("variant,seed,acc\n", {}, "CSV results.csv has no rows under its line of names; a row a run is needed"),
        ("variant,seed,acc\na,0,0.5\na,1,0.6\n", {}, "a comparison needs two variants; there is a alone"),
        ("variant,seed,acc\na,0,0.5\nb,1,0.6\n", {},
         "no variant shares a seed with the baseline 'a' (seeds 0); pairs need runs of the same seeds"),
    ],
)  # fmt: skip
def test_each_way_to_be_wrong_is_one_line(tmp_path: Path, text: str, asked: dict[str, str], said: str) -> None:
    with pytest.raises(HarnessError) as caught:
        _read(tmp_path, text, **asked)
    assert str(caught.value) == said.replace("{path}", str(tmp_path / "results.csv"))


def test_a_file_that_is_no_table_is_one_line(tmp_path: Path) -> None:
    """Absent, not text, a quote that does not end: what cannot be read is named."""
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00,\x80\n")
    (tmp_path / "open.csv").write_text('variant,seed,acc\na,0,"0.5\n')
    for name in ("absent.csv", "binary.csv", "open.csv"):
        with pytest.raises(HarnessError, match=rf"^CSV '.*{name}' cannot be read: "):
            from_csv(tmp_path / name)


def test_a_mistake_is_named_by_its_line_in_the_file(tmp_path: Path) -> None:
    """Empty lines and cells of several lines count, as in an editor."""
    with pytest.raises(HarnessError, match=r"^results\.csv line 6 \(variant b, seed 0\): `acc` must be"):
        _read(tmp_path, '\nvariant,seed,acc,note\n\na,0,0.5,"two\nlines"\nb,0,x,\n', metric="acc")


def test_seeds_of_any_size_stay_apart(tmp_path: Path) -> None:
    """Whole numbers that a float would round to one and the same, and the form that a data frame with a gap writes."""
    large = 1234567890123456788
    found = _read(tmp_path, f"variant,seed,acc\na,{large},0.5\na,{large + 1},0.6\nb,{large},0.7\nb,3.0,0.7\n")
    assert found.results == {"a": {large: 50.0, large + 1: 60.0}, "b": {large: 70.0, 3: 70.0}}
    with pytest.raises(HarnessError, match=r"`seed` must be a whole number; got '1234567890123456788\.0'$"):
        _read(tmp_path, f"variant,seed,acc\na,{large}.0,0.5\nb,0,0.7\n")


def test_which_values_are_fractions_and_which_percent() -> None:
    """The rule goes by the metric's name and by all of its values; what could be either is asked for."""
    assert unit_of("test_acc", [0.0, 1.0])[:2] == (100.0, POINTS)
    assert unit_of("top5", [1.5, 100.0])[:2] == (1.0, POINTS)
    assert unit_of("accrued", [0.2, 0.3])[:2] == (1.0, PLAIN)
    assert unit_of("bleu", [0.2, 0.3], "fraction")[:2] == (100.0, POINTS)
    assert unit_of("acc", [0.9, 3.0], "percent")[:2] == (1.0, POINTS)
    for values, asked in (([0.9, 3.0], ""), ([-0.1, 0.5], ""), ([50, 101], ""), ([0.5, 2], "fraction")):
        with pytest.raises(HarnessError, match=r"has (results of )?-?[\d.]+ to [\d.]+"):
            unit_of("acc", values, asked)


def test_runs_that_another_program_logged_in_mlflow(tmp_path: Path) -> None:
    """Finished runs alone, with the parameters and the last values that they logged, by MLflow's own client."""
    tracker = Tracker(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = tracker.client.create_experiment("theirs")
    for norm, seed, values in (("gn", 0, (0.5, 0.7)), ("gn", 1, (0.72,)), ("bn", 0, (0.75,)), ("bn", 1, (0.74,))):
        run = tracker.client.create_run(experiment).info.run_id
        tracker.client.log_param(run, "norm", norm)
        tracker.client.log_param(run, "seed", seed)
        for step, value in enumerate(values):
            tracker.client.log_metric(run, "test_acc", value, step=step)
        tracker.client.set_terminated(run, "FINISHED")
    tracker.client.create_run(experiment)
    table = from_mlflow(tracker, "theirs")
    found = read(table, Asked(variant="params.norm", seed="params.seed", metric="metrics.test_acc", baseline="bn"))
    assert found.results == {"gn": {0: 70.0, 1: 72.0}, "bn": {0: 75.0, 1: 74.0}}
    assert found.metric == "test acc"
    assert found.said == ("Runs of theirs that did not finish, and so are left out: 1.",)
    with pytest.raises(HarnessError, match=r"^MLFLOW must name an experiment .*; got 'their'; did you mean 'theirs'\?"):
        runs_of(tracker, "their")
