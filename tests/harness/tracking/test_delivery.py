"""Deliveries to a real SQLite store: everything arrives, once, whatever happened on the way."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import harness.records.journal
import harness.tracking.places
import harness.tracking.tracker
from harness.records.events import Diverged, EpochDone, Event, Failed
from harness.tracking.delivery import Delivered, Delivery
from harness.tracking.state import lacking
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Tracker
from harness.values import flatten
from tests.harness.runs import begun, write
from tests.harness.tracking.conftest import Deliver, experiment, history, mlflow_runs, rows

ENDS = {
    "diverged": Diverged(time=1005.0, step=7, where="train"),
    "failed": Failed(time=1005.0, error="RuntimeError: boom"),
}


def test_everything_of_a_run_arrives(
    deliver: Deliver, client: MlflowClient, named: list[Event], tmp_path: Path
) -> None:
    """The whole spec, data, code and versions as parameters; scores by epoch, rates by step; tags; artifacts."""
    write(tmp_path, named)
    (tmp_path / "artifacts" / "figures").mkdir(parents=True)
    (tmp_path / "artifacts" / "figures" / "curves.png").write_bytes(b"png")
    assert deliver(tmp_path) == Delivered(begun(named).spec.key, 5, "finished")
    (run,), started = mlflow_runs(client, named), begun(named)
    recipe = {k: v if isinstance(v, str) else json.dumps(v) for k, v in flatten(started.spec.recipe).items()}
    measured = ("data.mean", "data.std")  # what the recipe leaves to the images
    assert run.data.params.items() >= {k: v for k, v in recipe.items() if k not in measured}.items()
    assert run.data.params["data.mean"] == "[0.4, 0.4, 0.4]"
    assert run.data.params["circumstances.threads"] == "1"
    origin = {"seed": "0", "data.checksum": "0123", "environment.commit": "abc", "environment.torch": "2.14.1"}
    assert run.data.params.items() >= (origin | {"model.parameters": "31000"}).items()
    assert history(client, run, "test_loss") == [(1, 1.5), (2, 0.75)]
    assert history(client, run, "train_accuracy") == [(1, 0.4), (2, 0.8)]
    assert history(client, run, "system/cpu_utilization_percentage") == [(1, 50.0), (2, 50.0)]
    rates = [rate for event in named if isinstance(event, EpochDone) for rate in event.lrs]
    assert history(client, run, "learning_rate") == list(enumerate(rates, start=1))
    assert history(client, run, "lr_finder_loss") == [(0, 1.2), (1, 0.9), (2, 1.5)]
    assert run.data.metrics["lr_finder_suggestion"] == 0.01
    assert run.data.metrics["peak_memory_megabytes"] == 1000.0
    assert "validation_loss" not in run.data.metrics
    tags = {"kind": "run", "run_key": started.spec.key, "variant": "plain", "seed": "0", "state": "finished"}
    assert run.data.tags.items() >= (tags | {"experiment": experiment(named), "epochs_recorded": "2"}).items()
    assert run.info.run_name == "plain seed 0 · 75.0% · tiny"
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 1_000_250, 1_010_000)
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"figures", "journal.jsonl"}


def test_a_run_keeps_the_key_that_it_was_recorded_under(tracker: Tracker, named: list[Event], tmp_path: Path) -> None:
    """A recipe has got another field since, so that today's key is another one: reports look for the recorded one."""
    folder = tmp_path / f"{experiment(named)}-plain-s0-older"
    write(folder, named)
    assert Delivery(tracker).deliver(folder) == Delivered(folder.name, 5, "finished")
    assert list(tracker.runs(experiment(named))) == [folder.name]
    assert Delivery(tracker).deliver(folder) is None


def test_one_call_an_epoch(
    deliver: Deliver, client: MlflowClient, named: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores, system metrics and an epoch's 900 rates go out in one `log_batch`; nothing new, nothing sent."""
    calls: list[int] = []
    log_batch, log_artifact = MlflowClient.log_batch, MlflowClient.log_artifact

    def count(self: MlflowClient, run_id: str, metrics: Any = (), params: Any = (), **rest: Any) -> Any:
        calls.append(len(metrics))
        return log_batch(self, run_id, metrics=metrics, params=params, **rest)

    def count_files(self: MlflowClient, run_id: str, path: str) -> None:
        calls.append(-1)
        log_artifact(self, run_id, path)

    monkeypatch.setattr(MlflowClient, "log_batch", count)
    monkeypatch.setattr(MlflowClient, "log_artifact", count_files)
    for event in named:
        long = {"lrs": (0.1,) * 900, "step": 900 * event.epoch} if isinstance(event, EpochDone) else {}
        write(tmp_path, [event.model_copy(update=long)])
        calls.clear()
        deliver(tmp_path)
        if isinstance(event, EpochDone):
            assert calls == [908]
        calls.clear()
        assert deliver(tmp_path) is None
        assert calls == []
    (run,) = mlflow_runs(client, named)
    assert [step for step, _ in history(client, run, "learning_rate")] == list(range(1, 1801))


def test_deliveries_repeated_add_nothing(
    tracker: Tracker, deliver: Deliver, client: MlflowClient, named: list[Event], tmp_path: Path
) -> None:
    """Again; after losing the receipt; with a torn one; with another store's; one that says less or more than is there:
    the same run, the same rows. A run that was deleted is delivered whole once more: the store is believed first.
    """
    write(tmp_path, named[:3])
    deliver(tmp_path)
    write(tmp_path, named)
    deliver(tmp_path)
    expected, receipt = rows(tracker, named), tmp_path / "delivered.json"
    assert expected == 7 + 2 * (8 + 5) + 2
    kept = json.loads(receipt.read_text())
    others = [kept | change for change in ({"run_id": "0" * 32}, {"events": 0}, {"events": 99}, {"state": None}, {})]
    for damage in (None, "", '{"attempt": ', "[]", *map(json.dumps, others)):
        receipt.unlink()
        if damage is not None:
            receipt.write_text(damage)
        Delivery(tracker).deliver(tmp_path)
        (run,) = mlflow_runs(client, named)
        assert rows(tracker, named) == expected
        assert (run.info.run_id, run.info.status, run.data.tags["state"]) == (kept["run_id"], "FINISHED", "finished")
        assert not lacking(tmp_path)
    client.delete_run(kept["run_id"])
    assert rows(tracker, named) == 0
    Delivery(tracker).deliver(tmp_path)
    assert rows(tracker, named) == expected


def test_a_run_deleted_while_it_goes_on_is_made_again(
    tracker: Tracker, deliver: Deliver, client: MlflowClient, named: list[Event], tmp_path: Path
) -> None:
    """The delivery that finds out fails; the next one, of the same process, brings everything."""
    write(tmp_path, named[:3])
    deliver(tmp_path)
    (run,) = mlflow_runs(client, named)
    client.delete_run(run.info.run_id)
    write(tmp_path, named)
    with pytest.raises(TrackingError, match=r"^MLflow cannot be written: The run .* must be in the 'active' state"):
        deliver(tmp_path)
    deliver(tmp_path)
    assert rows(tracker, named) == 7 + 2 * (8 + 5) + 2


def test_a_run_that_the_store_has_in_part_is_delivered_whole(
    tracker: Tracker, client: MlflowClient, named: list[Event], tmp_path: Path
) -> None:
    """A store put back from an older copy: tags that do not fit the journal are not believed, nor is the receipt."""
    write(tmp_path, named)
    Delivery(tracker).deliver(tmp_path)
    (run,) = mlflow_runs(client, named)
    client.set_tag(run.info.run_id, "epochs_recorded", "1")
    with sqlite3.connect(tracker.store.uri.removeprefix("sqlite:///")) as connection:
        connection.execute("DELETE FROM metrics WHERE run_uuid = ? AND step = 2", (run.info.run_id,))
    Delivery(tracker).deliver(tmp_path)
    assert rows(tracker, named) == 7 + 2 * (8 + 5) + 2
    (run,) = mlflow_runs(client, named)
    assert run.data.tags["epochs_recorded"] == "2"


def test_an_answer_lost_when_the_run_was_made_leaves_no_second_one(
    tracker: Tracker, deliver: Deliver, client: MlflowClient, named: list[Event], tmp_path: Path, monkeypatch: Any
) -> None:
    """The run is found by its key and attempt. A second one, made by a request that the server took up late, is gone
    when the run ends, or at the next process's first delivery."""
    create_run = MlflowClient.create_run

    def lose(self: MlflowClient, *arguments: Any, **rest: Any) -> None:
        create_run(self, *arguments, **rest)
        raise MlflowException("API request failed with timeout exception")

    def make_twice(self: MlflowClient, *arguments: Any, **rest: Any) -> Any:
        create_run(self, *arguments, **rest)
        return create_run(self, *arguments, **rest)

    write(tmp_path / "lost", named[:3])
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "create_run", lose)
        with pytest.raises(TrackingError, match=r"^MLflow cannot be written: API request failed with timeout"):
            deliver(tmp_path / "lost")
    deliver(tmp_path / "lost")
    (run,) = mlflow_runs(client, named)
    assert run.data.metrics["test_loss"] == 1.5
    other = [begun(named).model_copy(update={"spec": begun(named).spec.model_copy(update={"seed": 1})}), *named[1:]]
    monkeypatch.setattr(MlflowClient, "create_run", make_twice)
    write(tmp_path / "late", other[:3])
    deliver(tmp_path / "late")
    assert len(mlflow_runs(client, named)) == 3
    write(tmp_path / "late", other)
    deliver(tmp_path / "late")
    assert sorted(run.data.tags["state"] for run in mlflow_runs(client, named)) == ["finished", "interrupted"]
    make_twice(client, run.info.experiment_id, tags={**run.data.tags})
    assert len(mlflow_runs(client, named)) == 4
    Delivery(tracker).deliver(tmp_path / "lost")
    assert sorted(run.data.tags["seed"] for run in mlflow_runs(client, named)) == ["0", "1"]
    assert run.info.run_id in [run.info.run_id for run in mlflow_runs(client, named)]


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_delivery_cut_off_anywhere_is_made_good_by_the_next(
    tracker: Tracker, client: MlflowClient, named: list[Event], tmp_path: Path, monkeypatch: Any, done: bool
) -> None:
    """Every single call to the store, and every file put into it, in turn is the last of its process, for a run that
    was interrupted and then for its end: another process's delivery leaves one run, our tag and MLflow's status as
    they should be, every row once."""
    calls: list[tuple[Any, str]] = [(harness.tracking.tracker, "listing"), (harness.tracking.places, "put")]
    calls += [(MlflowClient, name) for name in ("create_run", "log_batch", "set_tag", "set_terminated")]
    originals = {name: getattr(owner, name) for owner, name in calls}
    left, cut_off = [0], {"interrupted": 0, "finished": 0}

    def cut(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **rest: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and not done:
                raise KeyboardInterrupt
            answer = originals[name](*arguments, **rest)
            if left[0] == 0:
                raise KeyboardInterrupt
            return answer

        return call

    for owner, name in calls:
        monkeypatch.setattr(owner, name, cut(name))
    for last in range(1, 10):
        spec = begun(named).spec.model_copy(update={"seed": last})
        own, folder = [begun(named).model_copy(update={"spec": spec}), *named[1:]], tmp_path / spec.key
        for until, state, status in ((3, "interrupted", "KILLED"), (5, "finished", "FINISHED")):
            write(folder, own[:until])
            left[0] = last
            with contextlib.suppress(KeyboardInterrupt):
                Delivery(tracker).deliver(folder)
            cut_off[state] += left[0] == 0
            left[0] = 0
            Delivery(tracker).deliver(folder)
            runs = [run for run in mlflow_runs(client, named) if run.data.tags["run_key"] == spec.key]
            assert [(run.data.tags["state"], run.info.status) for run in runs] == [(state, status)], last
    assert rows(tracker, named) == 9 * (7 + 2 * (8 + 5) + 2)
    assert min(cut_off.values()) >= 6


def test_an_abandoned_attempt_is_replaced(
    deliver: Deliver, client: MlflowClient, named: list[Event], tmp_path: Path
) -> None:
    """A run begun anew, its journal another one, takes the old attempt's place under the same key."""
    write(tmp_path / "run", named[:3])
    deliver(tmp_path / "run")
    (old,) = mlflow_runs(client, named)
    (tmp_path / "run" / "journal.jsonl").unlink()
    write(tmp_path / "run", [named[0].model_copy(update={"time": 2000.0}), *named[1:]])
    deliver(tmp_path / "run")
    (new,) = mlflow_runs(client, named)
    assert (new.data.tags["attempt"], new.data.tags["state"]) == ("2000.000000", "finished")
    assert client.get_run(old.info.run_id).info.lifecycle_stage == "deleted"


def test_a_parameter_lost_on_the_way_is_sent_again(
    deliver: Deliver, client: MlflowClient, named: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that fails between making the run and its parameters: one line, and the next delivery is whole."""

    def fail(*_: Any, **__: Any) -> None:
        raise MlflowException("the server is down\nTraceback")

    write(tmp_path, named)
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", fail)
        with pytest.raises(TrackingError, match=r"^MLflow cannot be written: the server is down$"):
            deliver(tmp_path)
        assert lacking(tmp_path)
    deliver(tmp_path)
    (run,) = mlflow_runs(client, named)
    assert (run.data.params["epochs"], run.data.metrics["test_loss"]) == ("2", 0.75)


def test_a_run_goes_on_while_its_lock_is_held(
    tracker: Tracker, deliver: Deliver, client: MlflowClient, named: list[Event], tmp_path: Path
) -> None:
    """It reads "running" while somebody holds it, "interrupted" when nobody does, and "running" again at once when it
    goes on, events or not; MLflow's own status says the same."""
    states = []
    for told, held in ((3, True), (3, False), (3, True), (4, True), (4, False), (5, False)):
        write(tmp_path, named[:told])
        if held:
            with FileLock(tmp_path / "lock"):
                deliver(tmp_path)
        else:
            deliver(tmp_path)
        (run,) = mlflow_runs(client, named)
        assert tracker.runs(experiment(named))[begun(named).spec.key].state == run.data.tags["state"]
        states.append((run.data.tags["state"], run.info.status))
    going, stopped = ("running", "RUNNING"), ("interrupted", "KILLED")
    assert states == [going, stopped, going, going, stopped, ("finished", "FINISHED")]
    assert deliver(tmp_path / "never_begun") is None
    assert not lacking(tmp_path / "never_begun")


@pytest.mark.parametrize("state", ENDS)
def test_runs_without_a_result_are_no_success(
    deliver: Deliver, client: MlflowClient, named: list[Event], state: str, tmp_path: Path
) -> None:
    """Diverged and failed runs are FAILED; one made good afterwards is FINISHED, with the epochs of both attempts."""
    write(tmp_path, [*named[:3], ENDS[state]])
    deliver(tmp_path)
    (run,) = mlflow_runs(client, named)
    assert (run.info.status, run.data.tags["state"], run.data.tags["epochs_recorded"]) == ("FAILED", state, "1")
    if state == "failed":
        write(tmp_path, named[3:])
        deliver(tmp_path)
        (run,) = mlflow_runs(client, named)
        assert (run.info.status, run.data.tags["epochs_recorded"]) == ("FINISHED", "2")


def test_a_run_that_failed_before_it_began_is_recorded_once_it_has(
    deliver: Deliver, client: MlflowClient, named: list[Event], tmp_path: Path
) -> None:
    """Out of memory when the model was built, say: there is no specification to record before the next attempt."""
    write(tmp_path, [ENDS["failed"]])
    assert deliver(tmp_path) is None
    assert mlflow_runs(client, named) == []
    write(tmp_path, named)
    deliver(tmp_path)
    (run,) = mlflow_runs(client, named)
    assert (run.data.tags["state"], run.data.tags["epochs_recorded"]) == ("finished", "2")


def test_one_process_delivers_a_run_at_a_time(deliver: Deliver, named: list[Event], tmp_path: Path) -> None:
    """Two would make two runs: the second gives up in one line, and may try again."""
    write(tmp_path, named)
    with (
        FileLock(tmp_path / "delivered.lock"),
        pytest.raises(TrackingError, match=r"^MLflow cannot be written: .*lock"),
    ):
        deliver(tmp_path)
    assert deliver(tmp_path)


def test_an_experiment_deleted_in_mlflow_is_taken_back(
    tracker: Tracker, deliver: Deliver, client: MlflowClient, named: list[Event], tmp_path: Path
) -> None:
    """Its name cannot be used for another, so without that nothing could be recorded under it again."""
    write(tmp_path, named)
    deliver(tmp_path)
    found = client.get_experiment_by_name(experiment(named))
    assert found is not None
    client.delete_experiment(found.experiment_id)
    (tmp_path / "delivered.json").unlink()
    fresh = Tracker(tracker.store.root, tracker.store.uri)
    Delivery(fresh).deliver(tmp_path)
    (run,) = mlflow_runs(client, named)
    assert run.data.tags["state"] == "finished"


def test_a_run_deleted_in_mlflow_stays_deleted_until_it_is_made_again(
    tracker: Tracker, client: MlflowClient, named: list[Event], tmp_path: Path
) -> None:
    """Delivered without being asked for, it is left alone, whole or not; asked for, the same run is active again."""
    for until in (3, 5):
        write(tmp_path, named[:until])
        Delivery(tracker).deliver(tmp_path)
        (run,) = mlflow_runs(client, named)
        client.delete_run(run.info.run_id)
        left = Delivery(tracker).deliver(tmp_path, take_back=False)
        assert left == Delivered(begun(named).spec.key, 0, "deleted")
        assert mlflow_runs(client, named) == []
        Delivery(tracker).deliver(tmp_path)
        assert [each.info.run_id for each in mlflow_runs(client, named)] == [run.info.run_id]
    assert rows(tracker, named) == 7 + 2 * (8 + 5) + 2


def test_runs_made_again_after_runs_was_deleted_replace_the_old_ones(
    client: MlflowClient, named: list[Event], tmp_path: Path, tracker: Tracker
) -> None:
    """In the project's own store: the old result counts until the new run has finished, then only that one is left."""
    shutil.copy(tracker.store.root / "mlflow.db", tmp_path / "mlflow.db")
    own = Tracker(tmp_path)
    folder = tmp_path / "runs" / experiment(named) / begun(named).spec.key
    write(folder, named)
    Delivery(own).deliver(folder)
    (old,) = own.runs(experiment(named)).values()
    shutil.rmtree(tmp_path / "runs")
    again = [begun(named).model_copy(update={"time": 2000.0}), *named[1:]]
    own = Tracker(tmp_path)
    write(folder, again[:3])
    Delivery(own).deliver(folder)
    assert own.runs(experiment(named))[begun(named).spec.key] == old
    write(folder, again)
    Delivery(own).deliver(folder)
    (new,) = (run for run in own.listing(experiment(named)) if not run.deleted)
    assert (new.tags["attempt"], new.id != old.id) == ("2000.000000", True)


def test_what_all_is_made_asks_the_store_once(
    tracker: Tracker, named: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty whole runs: one listing, no journal read. A store without them gets them all again."""
    folders = []
    for seed in range(20):
        spec = begun(named).spec.model_copy(update={"seed": seed})
        folders.append(tmp_path / str(seed))
        write(folders[-1], [begun(named).model_copy(update={"spec": spec}), *named[1:]])
        Delivery(tracker).deliver(folders[-1])
    asked: list[object] = []
    listing = harness.tracking.tracker.listing
    with monkeypatch.context() as patched:
        patched.setattr(harness.tracking.tracker, "listing", lambda *rest: asked.append(rest) or listing(*rest))
        patched.setattr(harness.records.journal, "read", lambda folder: asked.append(folder))
        one = Delivery(tracker)
        assert [one.deliver(folder) for folder in folders] == [None] * 20
    assert len(asked) == 1
    shutil.copy(tracker.store.root / "mlflow.db", tmp_path / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("DELETE FROM tags WHERE key = 'run_key'")
    other = Delivery(Tracker(tmp_path))
    assert [delivered.events for folder in folders if (delivered := other.deliver(folder))] == [5] * 20
