"""Artifacts in a store: stored once, compared with what was delivered, and put back from the other copy."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from harness.records.events import Event
from harness.tracking.delivery import Delivered, Delivery
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Damaged, Tracker
from tests.harness.runs import begun, write
from tests.harness.tracking.conftest import experiment


def with_artifacts(folder: Path, events: list[Event], weights: bytes = b"w" * (1 << 20)) -> Path:
    """The finished run, with a small artifact and a large one."""
    write(folder, events)
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "predictions.npz").write_bytes(b"predictions")
    (folder / "artifacts" / "weights.safetensors").write_bytes(weights)
    return folder


def stored(tracker: Tracker, events: list[Event]) -> Path:
    """Where the store keeps the run's artifacts."""
    (run,) = tracker.listing(experiment(events))
    place = tracker.folder(run)
    assert place is not None
    return place


def test_large_artifacts_are_stored_once(tracker: Tracker, named: list[Event], tmp_path: Path) -> None:
    """A second name of the same file, so a change by rename leaves the other alone; small ones, and the journal, which
    grows in place, are copies of their own."""
    folder = with_artifacts(tracker.store.root / "runs" / "stored_once" / "run", named)
    Delivery(tracker).deliver(folder)
    place = stored(tracker, named)
    assert (place / "weights.safetensors").samefile(folder / "artifacts" / "weights.safetensors")
    for name, here in (("predictions.npz", folder / "artifacts"), ("journal.jsonl", folder)):
        assert (place / name).read_bytes() == (here / name).read_bytes()
        assert not (place / name).samefile(here / name)
    shutil.rmtree(folder.parent)
    assert (place / "weights.safetensors").stat().st_size == 1 << 20


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artifact_is_put_back_from_the_other_copy(
    tracker: Tracker, named: list[Event], tmp_path: Path, damage: str
) -> None:
    """In the store or in `runs/`: a reader gets what was delivered at once, the next delivery mends it and says so, and
    the one after finds nothing to do. A folder that is gone altogether is delivered again."""
    folder = with_artifacts(tmp_path / "run", named, weights=b"weights")
    Delivery(tracker).deliver(folder)
    place = stored(tracker, named)
    (run,) = tracker.runs(experiment(named)).values()
    for broken in (place / "predictions.npz", folder / "artifacts" / "predictions.npz"):
        DAMAGES[damage](broken)
        if damage == "missing" and broken.is_relative_to(folder):
            assert Delivery(tracker).deliver(folder) is None  # who needs the room may remove what the store has
            broken.write_bytes(b"predictions")
            continue
        delivered = Delivery(tracker).deliver(folder)
        assert delivered == Delivered(begun(named).spec.key, 0, "finished", ("predictions.npz",))
        assert broken.read_bytes() == b"predictions"
        assert Delivery(tracker).deliver(folder) is None
    shutil.rmtree(place)
    delivered = Delivery(tracker).deliver(folder)
    assert delivered is not None
    assert {"weights.safetensors", "journal.jsonl"} <= set(delivered.mended)
    assert tracker.artifact(run.id, "predictions.npz").read_bytes() == b"predictions"


def test_what_is_damaged_in_both_places_is_named(tracker: Tracker, named: list[Event], tmp_path: Path) -> None:
    """Nothing is called delivered that is not what was delivered, also when the receipt is lost: MLflow has the digest
    too. A reader is told which run it is."""
    folder = with_artifacts(tmp_path / "norms" / "run", named)
    Delivery(tracker).deliver(folder)
    for path in (stored(tracker, named) / "predictions.npz", folder / "artifacts" / "predictions.npz"):
        path.write_bytes(b"predictiont")
    for receipt in ("kept", "lost"):
        if receipt == "lost":
            (folder / "delivered.json").unlink()
        cure = "in the store and in norms/run of runs/; remove that folder and make the run again"
        with pytest.raises(TrackingError, match=f"predictions.npz are damaged or missing, {cure}$"):
            Delivery(tracker).deliver(folder)
    (run,) = tracker.runs(experiment(named)).values()
    with pytest.raises(Damaged, match=r"^predictions.npz of run .* cannot be read \(it is not what was delivered\)"):
        tracker.artifact(run.id, "predictions.npz")


def test_a_reader_gets_the_run_s_own_copy_where_the_store_s_is_damaged(
    tracker: Tracker, named: list[Event], tmp_path: Path
) -> None:
    """Before anybody has mended it: the store knows by its digest which is the right one."""
    started = begun(named)
    folder = tracker.store.root / "runs" / started.spec.experiment / started.spec.key
    Delivery(tracker).deliver(with_artifacts(folder, named))
    (stored(tracker, named) / "predictions.npz").write_bytes(b"")
    (stored(tracker, named) / "journal.jsonl").unlink()
    (run,) = tracker.runs(experiment(named)).values()
    assert tracker.artifact(run.id, "predictions.npz").read_bytes() == b"predictions"
    assert tracker.journal_of(run.id) == named


def test_artifacts_reach_the_disk_before_the_run_counts(
    tracker: Tracker, named: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file in the store is fsynced, and then its folder, before the tag that says `finished` is sent."""
    happened: list[str] = []
    fsync, set_tag = os.fsync, MlflowClient.set_tag

    def synced(descriptor: int) -> None:
        happened.append(Path(f"/proc/self/fd/{descriptor}").readlink().name.partition(".tmp")[0].rpartition(".")[0])
        fsync(descriptor)

    def tagged(self: MlflowClient, run_id: str, key: str, value: Any) -> None:
        happened.append(f"{key} {value}")
        set_tag(self, run_id, key, value)

    folder = with_artifacts(tmp_path / "run", named)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(MlflowClient, "set_tag", tagged)
    Delivery(tracker).deliver(folder)
    end = happened.index("state finished")
    for name in ("predictions.npz", "weights.safetensors", "journal.jsonl"):
        assert name in happened[:end]
