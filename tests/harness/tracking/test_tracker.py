"""What a real SQLite store gives back: ended runs as they were, the last summary, and one line when it fails."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

import harness.tracking.tracker
from harness.plans.experiment import Design
from harness.records.events import Event
from harness.records.record import Record
from harness.tracking.delivery import Delivery
from harness.tracking.rows import fitting
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Damaged, PlannedRun, Recorded, Summary, Tracker
from tests.harness.runs import begun, write


def test_an_ended_run_comes_back_as_it_was(tracker: Tracker, named: list[Event], tmp_path: Path) -> None:
    """Found by its key, with its state and its epochs; the journal from the store makes the same record."""
    spec = begun(named).spec
    write(tmp_path, named[:-1])
    Delivery(tracker).deliver(tmp_path)
    assert {key: (run.state, run.epochs) for key, run in tracker.runs(spec.experiment).items()} == {
        spec.key: ("interrupted", None)
    }
    write(tmp_path, named)
    Delivery(tracker).deliver(tmp_path)
    ((key, run),) = tracker.runs(spec.experiment).items()
    assert run == Recorded(run.id, "finished", 2)
    record = Record(run.id, key, tuple(tracker.journal_of(run.id)), None)
    assert record.events == tuple(named)
    assert record.finished == named[-1]


def test_the_summary_is_found_again(tracker: Tracker, design: Design, tmp_path: Path) -> None:
    """What was last asked counts, in whatever order it arrives, in one run of its own, which a report's files join; an
    unknown name lists the known."""
    own = design.model_copy(update={"experiment": "summed_up"})
    planned = tuple(PlannedRun(key=f"key{seed}", variant="plain", seed=seed) for seed in range(3))
    whole = Summary(design=own, runs=planned, asked=2000.5)
    first = tracker.record_summary(Summary(design=own, runs=planned[:1], asked=1000.5))
    assert tracker.summary("summed_up").runs == planned[:1]
    assert tracker.record_summary(whole) == first
    assert tracker.record_summary(Summary(design=own, runs=planned[:2], asked=1500.5)) == first
    assert tracker.summary("summed_up") == whole
    assert tracker.runs("summed_up") == {}
    (tmp_path / "report.md").write_text("# Report")
    tracker.add_to_summary("summed_up", tmp_path)
    assert tracker.artifact(first, "report/report.md").read_text() == "# Report"
    run = tracker.client.get_run(first)
    assert (run.data.tags["mlflow.note.content"], run.info.status) == ("Does it learn?", "FINISHED")
    rule = r"^no runs of 'never' are recorded \(recorded: .*summed_up.*\); make them with: make run EXP=never$"
    with pytest.raises(TrackingError, match=rule):
        tracker.summary("never")


def test_a_store_that_fails_is_one_line(tracker: Tracker, design: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk when a summary is written, an answer that is no JSON when runs are looked for: no traceback, and the
    summary that was begun is completed by the next attempt."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def nonsense(*_: object, **__: object) -> None:
        raise ValueError("Expecting value: line 1\nTraceback")

    own = Summary(design=design.model_copy(update={"experiment": "full"}), runs=(), asked=1.0)
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_text", full)
        with pytest.raises(TrackingError, match=r"^MLflow cannot be written: \[Errno 28\] No space left on device$"):
            tracker.record_summary(own)
    with monkeypatch.context() as patched:
        patched.setattr(harness.tracking.tracker, "listing", nonsense)
        with pytest.raises(TrackingError, match=r"^MLflow cannot be read: Expecting value: line 1$"):
            tracker.runs("full")
    tracker.record_summary(own)
    assert tracker.summary("full") == own


def test_runs_of_others_in_an_experiment_are_passed_over(tracker: Tracker, named: list[Event], tmp_path: Path) -> None:
    """One that somebody logged by hand, one without a state, one whose epochs are no number: ours is read all the same,
    and a run that is damaged is told from a store that fails."""
    name = begun(named).spec.experiment
    write(tmp_path, named)
    Delivery(tracker).deliver(tmp_path)
    for tags in ({}, {"kind": "run"}, {"kind": "run", "run_key": "other"}):
        tracker.client.create_run(tracker.experiment_id(name), tags=tags)
    odd = {"kind": "run", "run_key": "odd", "state": "finished", "epochs_recorded": "many", "artifact_sha256": "[1"}
    run_id = tracker.client.create_run(tracker.experiment_id(name), tags=odd).info.run_id
    found = tracker.runs(name)
    assert {key: (run.state, run.epochs) for key, run in found.items()} == {
        begun(named).spec.key: ("finished", 2),
        "odd": ("finished", None),
    }
    with pytest.raises(Damaged, match=r"^journal.jsonl of run odd cannot be read \(it is missing\); make sync puts"):
        tracker.journal_of(run_id)


def test_a_note_is_cut_between_two_lines(tracker: Tracker, recwarn: pytest.WarningsRecorder) -> None:
    """MLflow cuts at 8,000 characters, in the middle of a link, with a warning: ours ends before, and says how many
    rows are left out."""
    experiment_id = tracker.experiment_id("noted")
    run_id = tracker.client.create_run(experiment_id).info.run_id
    lines = [f"| [R{n}](#/experiments/1/runs/{n:032x}) | plain | {n} | 90.00 |" for n in range(1000)]
    tracker.describe(run_id, "\n".join(lines))
    note = tracker.client.get_run(run_id).data.tags["mlflow.note.content"]
    *kept, empty, rest = note.split("\n")
    assert kept == lines[: len(kept)]
    assert (empty, rest) == ("", f"{1000 - len(kept)} more rows: see the report among this run's artifacts.")
    assert 7500 < len(note) <= 8000
    assert list(recwarn) == []
    for short in ("", "one\ntwo", "x" * 8000):
        assert fitting(short) == short
    assert len(fitting("x" * 9000)) < 8000
