"""Runs copied into another store: all of them, whole, once, however often it is cut off."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from harness.plans.experiment import Design
from harness.records.events import Event
from harness.tracking.delivery import Delivery
from harness.tracking.migrate import Counts, migrate
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Summary, Tracker
from tests.harness.postgres import Postgres, missing
from tests.harness.runs import begun, write

ROWS = 7 + 2 * (8 + 5) + 2
EXPECTED = Counts(runs=3, metrics=2 * ROWS, artifacts=2 * 3 + 1)


@pytest.fixture
def source(tracker: Tracker, named: list[Event], design: Design, tmp_path: Path) -> Tracker:
    """A store of its own with two finished runs and the summary, whose note links to one of them."""
    root = tmp_path / "source"
    root.mkdir()
    shutil.copy(_empty(tracker), root / "mlflow.db")
    made = Tracker(root)
    name = begun(named).spec.experiment
    made.experiment_id("another_first")
    summary = made.record_summary(Summary(design=design.model_copy(update={"experiment": name}), runs=(), asked=1.0))
    for seed in (0, 1):
        spec = begun(named).spec.model_copy(update={"seed": seed})
        folder = root / "runs" / name / spec.key
        write(folder, [begun(named).model_copy(update={"spec": spec}), *named[1:]])
        (folder / "artifacts" / "figures").mkdir(parents=True)
        (folder / "artifacts" / "predictions.npz").write_bytes(b"predictions")
        (folder / "artifacts" / "figures" / "curves.png").write_bytes(b"png")
        Delivery(made).deliver(folder)
    run = next(iter(made.runs(name).values()))
    made.describe(summary, f"[R1](#/experiments/{made.experiment_id(name)}/runs/{run.id})")
    return made


def _empty(tracker: Tracker) -> Path:
    """A store without runs, as the session's was before its first test."""
    path = tracker.store.root / "empty.db"
    if not path.exists():
        from harness.tracking import database

        database.make(path)
    return path


@pytest.fixture
def target(tracker: Tracker, tmp_path: Path) -> Tracker:
    root = tmp_path / "target"
    root.mkdir()
    shutil.copy(_empty(tracker), root / "mlflow.db")
    return Tracker(root)


def same(source: Tracker, target: Tracker, experiment: str) -> None:
    """As a reader sees it: journals, numbers, names, and links that lead to the copies."""
    before, after = source.runs(experiment), target.runs(experiment)
    assert before.keys() == after.keys()
    for key, run in before.items():
        assert target.journal_of(after[key].id) == source.journal_of(run.id)
        old, new = (each.client.get_run(there[key].id) for each, there in ((source, before), (target, after)))
        assert (new.data.params, new.data.metrics) == (old.data.params, old.data.metrics)
        named = ("run_name", "status", "start_time", "end_time")
        assert [getattr(new.info, name) for name in named] == [getattr(old.info, name) for name in named]
    assert target.summary(experiment) == source.summary(experiment)
    summary = target.summary_run(experiment)
    assert summary is not None
    note = target.client.get_run(summary.id).data.tags["mlflow.note.content"]
    ids = [run.id for run in after.values()]
    assert note in [f"[R1](#/experiments/{target.experiment_id(experiment)}/runs/{number})" for number in ids]


def test_everything_is_copied_and_compared(source: Tracker, target: Tracker, named: list[Event]) -> None:
    """Rows, parameters, tags, artifacts; the second time nothing is sent. A run deleted in the source stays there."""
    name, said = begun(named).spec.experiment, list[str]()
    assert migrate(source, target, said.append) == (EXPECTED, EXPECTED)
    assert said == ["another_first: 0 runs", f"{name}: 3 runs"]
    same(source, target, name)
    with pytest.MonkeyPatch.context() as patched:
        for write_call in ("create_run", "log_batch", "log_artifact", "set_tag"):
            patched.setattr(MlflowClient, write_call, pytest.fail)
        assert migrate(source, target, said.append) == (EXPECTED, EXPECTED)
    gone = next(iter(source.runs(name).values()))
    source.client.delete_run(gone.id)
    here, _ = migrate(source, target, said.append)
    assert here.runs == 2


def test_the_project_goes_on_in_the_new_store(source: Tracker, target: Tracker, named: list[Event]) -> None:
    """Its runs are found there by what they are, so that none is made twice."""
    name = begun(named).spec.experiment
    migrate(source, target, lambda line: None)
    moved = Tracker(source.store.root, target.store.uri)
    for folder in (source.store.root / "runs" / name).glob("*/journal.jsonl"):
        Delivery(moved).deliver(folder.parent)
    alive = [run for run in target.listing(name) if not run.deleted and run.tags["kind"] == "run"]
    assert len(alive) == 2


def test_cut_off_anywhere_it_goes_on(
    source: Tracker, target: Tracker, named: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call that writes is in turn the last of its process, done or not: nothing is there twice."""
    calls = ("create_run", "log_batch", "log_artifact", "set_terminated", "set_tag")
    originals = {name: getattr(MlflowClient, name) for name in calls}
    left = [0, 0]

    def cut(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **rest: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and left[1] % 2:
                raise KeyboardInterrupt
            answer = originals[name](*arguments, **rest)
            if left[0] == 0:
                raise KeyboardInterrupt
            return answer

        return call

    for name in calls:
        monkeypatch.setattr(MlflowClient, name, cut(name))
    for last in (1, 1, 2, 3, 5, 7, 8):
        left[0], left[1] = last, left[1] + 1
        try:
            migrate(source, target, lambda line: None)
        except KeyboardInterrupt:
            continue
    left[0] = 0
    assert migrate(source, target, lambda line: None) == (EXPECTED, EXPECTED)
    same(source, target, begun(named).spec.experiment)


def test_a_copy_that_is_not_the_same_is_said(source: Tracker, target: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that loses a row: the line says of which run and what, and the run does not count as copied."""
    log_batch = MlflowClient.log_batch

    def lose(self: MlflowClient, run_id: str, metrics: Any = (), **rest: Any) -> Any:
        return log_batch(self, run_id, metrics=metrics[1:], **rest)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", lose)
        with pytest.raises(TrackingError, match=r"^run \w+ and its copy \w+ differ in their metric rows$"):
            migrate(source, target, lambda line: None)
    assert migrate(source, target, lambda line: None) == (EXPECTED, EXPECTED)


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_into_postgresql_and_back(source: Tracker, target: Tracker, named: list[Event], tmp_path: Path) -> None:
    """Also without a server in between: its artifacts then lie with the project."""
    with Postgres() as postgres:
        (tmp_path / "team").mkdir()
        team = Tracker(tmp_path / "team", postgres.uri())
        assert migrate(source, team, lambda line: None) == (EXPECTED, EXPECTED)
        same(source, team, begun(named).spec.experiment)
        rows = postgres.sql("SELECT count(*) FROM metrics")
        assert rows == [(EXPECTED.metrics,)]
        assert migrate(team, target, lambda line: None) == (EXPECTED, EXPECTED)
        same(source, target, begun(named).spec.experiment)
