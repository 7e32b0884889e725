"""A finished run that lost an artifact gets it back from the tracking store; it is made again if that lacks it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from harness.execution.made import find_made, made_before, repair
from harness.records.events import Event
from harness.tracking.delivery import Delivery
from harness.tracking.store import Store, Unreachable
from harness.tracking.tracker import Tracker
from tests.harness.runs import begun, write_finished

FILES = {"predictions.npz": b"predictions", "figures/curves.png": b"curves"}
DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "changed": lambda path: path.write_bytes(path.read_bytes().swapcase()),
    "all": lambda path: shutil.rmtree(path.parent),
}


@pytest.fixture
def project(tracker: Tracker, tmp_path: Path) -> Tracker:
    return Tracker(tmp_path, tracker.store.uri)


@pytest.fixture
def folder(named: list[Event], tmp_path: Path) -> Path:
    """A finished run, not delivered."""
    return write_finished(tmp_path, named, FILES)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_lost_here_comes_back_from_the_store(
    project: Tracker, folder: Path, named: list[Event], tmp_path: Path, damage: str
) -> None:
    """Whatever became of it, a file of the same size included; the run is made, and nothing is set aside."""
    Delivery(project).deliver(folder)
    DAMAGES[damage](folder / "artifacts" / "predictions.npz")
    made, said = find_made(tmp_path, begun(named).spec), list[str]()
    assert made is not None
    assert "predictions.npz" in (made.problem or "")
    mended = repair(made, project, said.append)
    assert mended is not None
    assert mended.problem is None
    back = "predictions.npz, figures/curves.png" if damage == "all" else "predictions.npz"
    assert said == [f"plain seed 0: put back from MLflow: {back}"]
    assert {name: (folder / "artifacts" / name).read_bytes() for name in FILES} == FILES
    again = find_made(tmp_path, begun(named).spec)
    assert again is not None
    assert again.problem is None


def test_what_the_store_lacks_is_made_again(project: Tracker, folder: Path, named: list[Event], tmp_path: Path) -> None:
    """Damaged there too; the journal is set aside, and only where the run is to be made."""
    Delivery(project).deliver(folder)
    (run,) = project.listing(begun(named).spec.experiment)
    place = project.folder(run)
    assert place is not None
    for path in (place / "predictions.npz", folder / "artifacts" / "predictions.npz"):
        path.write_bytes(b"PREDICTIONS")
    said = list[str]()
    other = begun(named).spec.model_copy(update={"seed": 7})
    assert made_before(tmp_path, [begun(named).spec], [other], said.append, project) == []
    assert said.pop() == "plain seed 0: artifacts/predictions.npz is missing or not whole; it is left out"
    made = find_made(tmp_path, begun(named).spec)
    assert made is not None
    assert repair(made, project, said.append) is None
    assert said == ["plain seed 0: artifacts/predictions.npz is missing or not whole; it is made again"]
    assert (folder / "journal.jsonl.damaged").exists()
    assert find_made(tmp_path, begun(named).spec) is None


def test_a_store_that_does_not_answer_stops_no_run(
    project: Tracker, folder: Path, named: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, and the run is made again."""

    def down(_: object) -> None:
        raise Unreachable("nobody there")

    (folder / "artifacts" / "predictions.npz").unlink()
    monkeypatch.setattr(Store, "require_answer", down)
    made, said = find_made(tmp_path, begun(named).spec), list[str]()
    assert made is not None
    assert repair(made, project, said.append) is None
    assert said[0].endswith("not whole, and MLflow cannot give it back (nobody there); it is made again")


def test_a_run_that_another_process_holds_is_left_to_it(folder: Path, named: list[Event], tmp_path: Path) -> None:
    """Its journal stays where it is."""
    (folder / "artifacts" / "predictions.npz").unlink()
    made = find_made(tmp_path, begun(named).spec)
    assert made is not None
    with FileLock(folder / "lock"):
        assert repair(made, None, pytest.fail) is None
    assert (folder / "journal.jsonl").exists()


def test_a_delivered_artifact_is_not_read_again(
    project: Tracker, folder: Path, named: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size and time of change say that it is whole; touched, it is."""
    Delivery(project).deliver(folder)
    read: list[Path] = []
    monkeypatch.setattr("harness.execution.made.sha256", lambda path: read.append(path) or "")
    assert find_made(tmp_path, begun(named).spec)
    assert read == []
    os.utime(folder / "artifacts" / "predictions.npz", (1, 1))
    made = find_made(tmp_path, begun(named).spec)
    assert made is not None
    assert made.problem
