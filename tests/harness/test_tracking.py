"""Deliveries to a real SQLite store: everything arrives, once, and comes back as it was."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.facts import Diverged, EpochDone, Fact, Failed, Started
from harness.record import Record
from harness.spec import Design, flatten
from harness.store import TrackingError
from harness.tracking import PlannedRun, Summary, Tracker
from tests.harness.runs import write

ENDS = {
    "diverged": Diverged(time=1005.0, step=7, where="train"),
    "failed": Failed(time=1005.0, error="RuntimeError: boom"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def tracker(root: Path) -> Tracker:
    return Tracker(root, f"sqlite:///{root / 'mlflow.db'}")


@pytest.fixture(scope="module")
def client(tracker: Tracker, root: Path) -> MlflowClient:
    """MLflow's own client, to look at the store as its pages do."""
    return MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")


@pytest.fixture
def facts(facts: list[Fact], request: pytest.FixtureRequest) -> list[Fact]:
    """A finished run in an experiment of the test's own."""
    started = begun(facts)
    name = request.node.name.replace("[", "_").rstrip("]")[:64]
    named = started.spec.model_copy(update={"experiment": name})
    return [started.model_copy(update={"spec": named}), *facts[1:]]


def begun(facts: list[Fact]) -> Started:
    assert isinstance(facts[0], Started)
    return facts[0]


def experiment(facts: list[Fact]) -> str:
    return begun(facts).spec.experiment


def mlflow_runs(client: MlflowClient, facts: list[Fact]) -> list[Run]:
    found = client.get_experiment_by_name(experiment(facts))
    return list(client.search_runs([found.experiment_id])) if found else []


def rows(root: Path, facts: list[Fact]) -> int:
    """Metric rows in the store's own table, those of deleted runs aside."""
    joined = "metrics JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id)"
    query = f"SELECT count(*) FROM {joined} WHERE experiments.name = ? AND runs.lifecycle_stage = 'active'"
    with sqlite3.connect(root / "mlflow.db") as connection:
        return connection.execute(query, (experiment(facts),)).fetchone()[0]


def history(client: MlflowClient, run: Run, metric: str) -> list[tuple[int, float]]:
    return [(row.step, row.value) for row in client.get_metric_history(run.info.run_id, metric)]


def test_everything_of_a_run_arrives(tracker: Tracker, client: MlflowClient, facts: list[Fact], tmp_path: Path) -> None:
    """The whole spec, data, code and versions as parameters; scores by epoch, rates by step; tags; artifacts."""
    write(tmp_path, facts)
    (tmp_path / "artifacts" / "figures").mkdir(parents=True)
    (tmp_path / "artifacts" / "figures" / "curves.png").write_bytes(b"png")
    tracker.sync(tmp_path)
    (run,), started = mlflow_runs(client, facts), begun(facts)
    recipe = {k: v if isinstance(v, str) else json.dumps(v) for k, v in flatten(started.spec.recipe).items()}
    assert run.data.params.items() >= recipe.items()
    origin = {"seed": "0", "data.checksum": "0123", "environment.commit": "abc", "environment.torch": "2.14.1"}
    assert run.data.params.items() >= (origin | {"model.parameters": "31000"}).items()
    assert history(client, run, "test_loss") == [(1, 1.5), (2, 0.75)]
    assert history(client, run, "train_accuracy") == [(1, 0.4), (2, 0.8)]
    assert history(client, run, "system/cpu_utilization_percentage") == [(1, 50.0), (2, 50.0)]
    rates = [rate for fact in facts if isinstance(fact, EpochDone) for rate in fact.lrs]
    assert history(client, run, "learning_rate") == list(enumerate(rates, start=1))
    assert history(client, run, "lr_finder_loss") == [(0, 1.2), (1, 0.9), (2, 1.5)]
    assert run.data.metrics["lr_finder_suggestion"] == 0.01
    assert run.data.metrics["peak_memory_megabytes"] == 1000.0
    assert "validation_loss" not in run.data.metrics
    tags = {"kind": "run", "run_key": started.spec.key, "variant": "plain", "seed": "0", "state": "finished"}
    assert run.data.tags.items() >= (tags | {"experiment": experiment(facts), "epochs_recorded": "2"}).items()
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 1_000_250, 1_010_000)
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"figures", "journal.jsonl"}


def test_one_call_an_epoch(
    tracker: Tracker, client: MlflowClient, facts: list[Fact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    for fact in facts:
        long = {"lrs": (0.1,) * 900, "step": 900 * fact.epoch} if isinstance(fact, EpochDone) else {}
        write(tmp_path, [fact.model_copy(update=long)])
        calls.clear()
        tracker.sync(tmp_path)
        if isinstance(fact, EpochDone):
            assert calls == [908]
        calls.clear()
        tracker.sync(tmp_path)
        assert calls == []
    (run,) = mlflow_runs(client, facts)
    assert [step for step, _ in history(client, run, "learning_rate")] == list(range(1, 1801))


def test_deliveries_repeated_add_nothing(
    tracker: Tracker, client: MlflowClient, root: Path, facts: list[Fact], tmp_path: Path
) -> None:
    """Again; after losing the receipt; with a torn one; with another store's: the same run, the same rows.

    A run that was deleted is delivered whole once more: a receipt is not believed against the store.
    """
    write(tmp_path, facts[:3])
    tracker.sync(tmp_path)
    write(tmp_path, facts)
    tracker.sync(tmp_path)
    expected, receipt = rows(root, facts), tmp_path / "delivered.json"
    assert expected == 7 + 2 * (8 + 5) + 2
    kept = json.loads(receipt.read_text())
    for damage in (None, "", '{"attempt": ', json.dumps(kept | {"run_id": "0" * 32}), json.dumps(kept)):
        receipt.unlink()
        if damage is not None:
            receipt.write_text(damage)
        Tracker(root, f"sqlite:///{root / 'mlflow.db'}").sync(tmp_path)
        (run,) = mlflow_runs(client, facts)
        assert rows(root, facts) == expected
        assert (run.info.run_id, run.info.status, run.data.tags["state"]) == (kept["run_id"], "FINISHED", "finished")
    client.delete_run(kept["run_id"])
    assert rows(root, facts) == 0
    Tracker(root, f"sqlite:///{root / 'mlflow.db'}").sync(tmp_path)
    assert rows(root, facts) == expected


def test_an_abandoned_attempt_is_replaced(
    tracker: Tracker, client: MlflowClient, facts: list[Fact], tmp_path: Path
) -> None:
    """A run begun anew, its journal another one, takes the old attempt's place under the same key."""
    write(tmp_path / "old", facts[:3])
    tracker.sync(tmp_path / "old")
    (old,) = mlflow_runs(client, facts)
    write(tmp_path / "new", [facts[0].model_copy(update={"time": 2000.0}), *facts[1:]])
    tracker.sync(tmp_path / "new")
    (new,) = mlflow_runs(client, facts)
    assert new.data.tags["attempt"] == "2000.000000"
    assert client.get_run(old.info.run_id).info.lifecycle_stage == "deleted"


def test_a_parameter_lost_on_the_way_is_sent_again(
    tracker: Tracker, client: MlflowClient, facts: list[Fact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that fails between making the run and its parameters: one line, and the next delivery is whole."""

    def fail(*_: Any, **__: Any) -> None:
        raise MlflowException("the server is down\nTraceback")

    write(tmp_path, facts)
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", fail)
        with pytest.raises(TrackingError, match=r"^MLflow cannot be written: the server is down$"):
            tracker.sync(tmp_path)
    tracker.sync(tmp_path)
    (run,) = mlflow_runs(client, facts)
    assert (run.data.params["epochs"], run.data.metrics["test_loss"]) == ("2", 0.75)


def test_an_interrupted_run_goes_on(tracker: Tracker, facts: list[Fact], tmp_path: Path) -> None:
    """It reads "interrupted" until its next fact, then "running", then "finished"."""
    states = []
    for told in (facts[:3], None, facts[:3], facts[:4], facts):
        write(tmp_path, told or [])
        (tracker.sync if told else tracker.interrupt)(tmp_path)
        states += tracker.states(experiment(facts)).values()
    assert states == ["running", "interrupted", "interrupted", "running", "finished"]
    tracker.interrupt(tmp_path / "never_begun")


@pytest.mark.parametrize("state", ENDS)
def test_runs_without_a_result_are_no_success(
    tracker: Tracker, client: MlflowClient, facts: list[Fact], state: str, tmp_path: Path
) -> None:
    """Diverged and failed runs are FAILED; one made good afterwards is FINISHED, with the epochs of both attempts."""
    write(tmp_path, [*facts[:3], ENDS[state]])
    tracker.sync(tmp_path)
    (run,) = mlflow_runs(client, facts)
    assert (run.info.status, run.data.tags["state"], run.data.tags["epochs_recorded"]) == ("FAILED", state, "1")
    assert list(tracker.runs(experiment(facts)).values()) == [run.info.run_id]
    if state == "failed":
        write(tmp_path, facts[3:])
        tracker.sync(tmp_path)
        (run,) = mlflow_runs(client, facts)
        assert (run.info.status, run.data.tags["epochs_recorded"]) == ("FINISHED", "2")


def test_an_ended_run_comes_back_as_it_was(tracker: Tracker, facts: list[Fact], tmp_path: Path) -> None:
    """Found by its key; a running one is not; the journal from the store is the run's own, and makes a record."""
    write(tmp_path, facts[:-1])
    tracker.sync(tmp_path)
    assert tracker.runs(experiment(facts)) == {}
    write(tmp_path, facts)
    tracker.sync(tmp_path)
    ((key, run_id),) = tracker.runs(experiment(facts)).items()
    record = Record(run_id, key, tuple(tracker.journal_of(run_id)), None)
    assert record.facts == tuple(facts)
    assert record.finished == facts[-1]


def test_the_summary_is_found_again(tracker: Tracker, client: MlflowClient, design: Design, tmp_path: Path) -> None:
    """The last plan counts, in one run of its own, which a report's files join; an unknown name lists the known."""
    own = design.model_copy(update={"experiment": "summed_up"})
    planned = tuple(PlannedRun(key=f"key{seed}", variant="plain", seed=seed) for seed in range(3))
    first = tracker.record_summary(Summary(design=own, runs=planned[:1]))
    assert tracker.record_summary(Summary(design=own, runs=planned)) == first
    assert tracker.summary("summed_up") == Summary(design=own, runs=planned)
    assert tracker.runs("summed_up") == {}
    (tmp_path / "report.md").write_text("# Report")
    tracker.add_to_summary("summed_up", tmp_path)
    assert tracker.artifact(first, "report/report.md").read_text() == "# Report"
    assert client.get_run(first).data.tags["mlflow.note.content"] == "Does it learn?"
    rule = r"^no runs of 'never' are recorded \(recorded: .*summed_up.*\); make them with: make run EXP=never$"
    with pytest.raises(TrackingError, match=rule):
        tracker.summary("never")


def test_a_summary_that_cannot_be_written_is_one_line(
    tracker: Tracker, design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that fails, on a full disk say, before the first run or after the report ends in one line."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tracker._client, "log_text", full)
    with pytest.raises(TrackingError, match=r"^MLflow cannot be written: \[Errno 28\] No space left on device$"):
        tracker.record_summary(Summary(design=design, runs=()))
