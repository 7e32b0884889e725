"""Journals that were changed after their run was delivered: named, and nothing in MLflow changes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.records.events import Event
from harness.tracking.changed import Changed
from harness.tracking.delivery import Delivery
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Tracker
from tests.harness.runs import begun, write
from tests.harness.tracking.conftest import mlflow_runs, rows


def test_a_journal_that_lost_its_end_takes_no_result_from_mlflow(
    tracker: Tracker, client: MlflowClient, named: list[Event], tmp_path: Path
) -> None:
    """The line says where the whole journal is; put back, nothing is missing."""
    write(tmp_path, named)
    Delivery(tracker).deliver(tmp_path)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    with pytest.raises(TrackingError, match=r"has lost its end, since MLflow has the run as finished; put journal"):
        Delivery(tracker).deliver(tmp_path)
    (run,) = mlflow_runs(client, named)
    assert (run.info.status, run.data.tags["state"]) == ("FINISHED", "finished")
    shutil.copy(client.download_artifacts(run.info.run_id, "journal.jsonl"), path)
    Delivery(tracker).deliver(tmp_path)
    assert rows(tracker, named) == 7 + 2 * (8 + 5) + 2


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "a loss": lambda text: text.replace(b'"loss":0.75', b'"loss":0.25'),
    "an accuracy": lambda text: text.replace(b'"accuracy":0.75', b'"accuracy":0.99'),
    "an epoch less": lambda text: b"".join(line for line in text.splitlines(True) if b'"epoch":1,' not in line),
    "a parameter": lambda text: text.replace(b'"lr":0.05', b'"lr":0.5'),
    "emptied": lambda text: b"",
}


@pytest.mark.parametrize("receipt", ["kept", "lost"])
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_journal_that_was_edited_after_delivery_changes_nothing_in_mlflow(
    tracker: Tracker,
    client: MlflowClient,
    named: list[Event],
    tmp_path: Path,
    edit: Callable[[bytes], bytes],
    receipt: str,
) -> None:
    """It is named, with where the delivered one is; rows, names and artifacts stay; put back, all is well again."""
    folder = tmp_path / begun(named).spec.key
    write(folder, named)
    Delivery(tracker).deliver(folder)
    path, before = folder / "journal.jsonl", mlflow_runs(client, named)
    path.write_bytes(edit(delivered := path.read_bytes()))
    assert path.read_bytes() != delivered
    if receipt == "lost":
        (folder / "delivered.json").unlink()
        if not path.read_bytes():
            assert Delivery(tracker).deliver(folder) is None  # nothing says that there was a run
            return
    cure = rf"was changed after the run .* put journal.jsonl back from the artifacts of run {before[0].info.run_id}, or"
    with pytest.raises(Changed, match=cure):
        Delivery(Tracker(tracker.store.root, tracker.store.uri)).deliver(folder)
    after = mlflow_runs(client, named)
    assert [run.to_dictionary() for run in after] == [run.to_dictionary() for run in before]
    assert rows(tracker, named) == 7 + 2 * (8 + 5) + 2
    stored = Path(client.download_artifacts(before[0].info.run_id, "journal.jsonl"))
    assert stored.read_bytes() == delivered
    shutil.copy(stored, path)
    Delivery(tracker).deliver(folder)
    assert Delivery(Tracker(tracker.store.root, tracker.store.uri)).deliver(folder) is None
