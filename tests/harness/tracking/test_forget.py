"""A run that is deleted is gone from `runs/` and from MLflow, whatever is down or killed meanwhile, and stays so."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from mlflow.tracking import MlflowClient

import harness.tracking.forget
from harness.records.events import Event
from harness.tracking.delivery import Delivery
from harness.tracking.forget import Forgotten, complete, forget
from harness.tracking.store import Store, TrackingError, Unreachable
from harness.tracking.sync import Courier
from harness.tracking.tracker import Tracker
from harness.values import HarnessError
from tests.harness.runs import begun, write

LEFT = ["delivered.lock", "forgotten.json", "lock"]


@pytest.fixture
def project(tracker: Tracker, tmp_path: Path) -> Tracker:
    return Tracker(tmp_path, tracker.store.uri)


@pytest.fixture
def folders(project: Tracker, named: list[Event], tmp_path: Path) -> list[Path]:
    """Two finished runs, delivered."""
    made = []
    for seed in (0, 1):
        spec = begun(named).spec.model_copy(update={"seed": seed})
        made.append(tmp_path / "runs" / spec.experiment / spec.key)
        write(made[-1], [begun(named).model_copy(update={"spec": spec}), *named[1:]])
        (made[-1] / "artifacts").mkdir()
        (made[-1] / "artifacts" / "predictions.npz").write_bytes(b"numbers")
        Delivery(project).deliver(made[-1])
    return made


def recorded(project: Tracker, named: list[Event]) -> list[str]:
    return sorted(project.runs(begun(named).spec.experiment))


def test_a_run_is_deleted_in_both_places(
    project: Tracker, folders: list[Path], named: list[Event], tmp_path: Path
) -> None:
    """The other one stays, sync brings nothing back, and a run made again under that key is recorded."""
    gone, kept = folders
    assert forget(project, tmp_path, [gone.name]) == Forgotten(folders=1, runs=1, of_others=0)
    assert sorted(path.name for path in gone.iterdir()) == LEFT
    said: list[str] = []
    assert Courier(project, tmp_path, said.append).sync() == 0
    assert said == ["1 runs here: 0 brought up to date"]
    assert recorded(project, named) == [kept.name]
    write(gone, [begun(named).model_copy(update={"time": 2000.0}), *named[1:]])
    assert Courier(project, tmp_path, said.append).sync() == 0
    assert recorded(project, named) == sorted([gone.name, kept.name])


def test_a_run_whose_folder_is_gone_is_deleted_in_mlflow(
    project: Tracker, folders: list[Path], named: list[Event], tmp_path: Path
) -> None:
    """Else it would count for ever; another project's run of the same key is not touched."""
    other = Tracker(tmp_path / "other", project.store.uri) if (tmp_path / "other").mkdir() is None else project
    folder = tmp_path / "other" / "runs" / "e" / "r"
    shutil.copytree(folders[0], folder)
    (folder / "delivered.json").unlink()
    Delivery(other).deliver(folder)
    shutil.rmtree(folders[0])
    assert forget(project, tmp_path, [folders[0].name]) == Forgotten(folders=0, runs=1, of_others=1)
    assert recorded(project, named) == sorted(each.name for each in folders)


def test_a_store_that_is_down_hears_of_it_by_sync(
    project: Tracker, folders: list[Path], named: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is gone at once, the run in MLflow with the next sync."""

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "delete_run", down)
        with pytest.raises(TrackingError, match="down; runs/ no longer has these runs, MLflow still has 1: "):
            forget(project, tmp_path, [folders[0].name])
        Courier(project, tmp_path, lambda line: None).sync()
    assert not (folders[0] / "journal.jsonl").exists()
    assert len(recorded(project, named)) == 2
    Courier(project, tmp_path, lambda line: None).sync()
    assert recorded(project, named) == [folders[1].name]


def down(*_: object) -> None:
    raise Unreachable("the store is down")


def test_a_store_that_does_not_answer_leaves_both_places_alone(
    project: Tracker, folders: list[Path], named: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked before the first file goes: nothing is deleted in one place alone."""
    with monkeypatch.context() as patched:
        patched.setattr(Store, "require_answer", down)
        with pytest.raises(TrackingError, match=r"the store is down; nothing is deleted, do it again once it answers$"):
            forget(project, tmp_path, [folders[0].name])
    assert (folders[0] / "journal.jsonl").exists()
    assert len(recorded(project, named)) == 2


def test_an_attempt_begun_beside_a_pending_tombstone_stays(
    project: Tracker, folders: list[Path], named: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow did not answer when the run was deleted, and it is being made again: the old attempt goes, the new one is
    neither deleted nor, while a process holds its folder, touched."""
    folder = folders[0]
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "delete_run", down)
        with pytest.raises(TrackingError):
            forget(project, tmp_path, [folder.name])
    with FileLock(folder / "lock"):
        (folder / "step-000000001.ckpt").write_bytes(b"state")
        assert complete(project, tmp_path) == 0
    assert (folder / "step-000000001.ckpt").exists()
    started = begun(named).spec.model_copy(update={"seed": 0})
    write(folder, [begun(named).model_copy(update={"spec": started, "time": 2000.0}), *named[1:3]])
    Delivery(project).deliver(folder)
    complete(project, tmp_path)
    alive = [run for run in project.listing(started.experiment) if run.key == folder.name and not run.deleted]
    assert [run.tags["attempt"] for run in alive] == ["2000.000000"]
    assert (folder / "journal.jsonl").exists()
    assert complete(project, tmp_path) == 0


@pytest.mark.parametrize("damage", ["torn", "folder", "other"])
def test_a_run_whose_beginning_cannot_be_read_is_deleted(
    project: Tracker, folders: list[Path], named: list[Event], tmp_path: Path, damage: str
) -> None:
    """By its key, in both places, also if the process dies in between."""
    journal = folders[0] / "journal.jsonl"
    content = journal.read_bytes()
    journal.unlink()
    if damage == "folder":
        journal.mkdir()
    else:
        journal.write_bytes(content[:20] if damage == "torn" else content.replace(b"started", b"unknown"))
    assert forget(project, tmp_path, [folders[0].name]).runs == 1
    assert sorted(path.name for path in folders[0].iterdir()) == LEFT
    assert recorded(project, named) == [folders[1].name]


def test_a_damaged_tombstone_deletes_no_new_attempt(
    project: Tracker, folders: list[Path], named: list[Event], tmp_path: Path
) -> None:
    """Whether MLflow was told is not known then: what the journal has now stays."""
    (folders[0] / "forgotten.json").write_text("{")
    (folders[1] / "forgotten.json").write_text("[1]")
    assert complete(project, tmp_path) == 0
    assert len(recorded(project, named)) == 2


@pytest.mark.parametrize("before", ["journal", "artifacts"])
def test_a_process_killed_while_it_deletes_is_completed(
    project: Tracker,
    folders: list[Path],
    named: list[Event],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
) -> None:
    """The tombstone comes first: sync completes what was begun."""
    owner, name = (Path, "unlink") if before == "journal" else (harness.tracking.forget.shutil, "rmtree")
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            forget(project, tmp_path, [folders[0].name])
    assert Courier(project, tmp_path, lambda line: None).sync() == 0
    assert sorted(path.name for path in folders[0].iterdir()) == LEFT
    assert recorded(project, named) == [folders[1].name]


def test_nothing_is_deleted_by_mistake(
    project: Tracker, folders: list[Path], named: list[Event], tmp_path: Path
) -> None:
    """A key that nobody has, a path, a run that is being made: refused before the first is deleted."""
    for wrong in (folders[1].name[:-1], "../other", "*", ""):
        with pytest.raises(HarnessError, match=r"no run .* in runs/ or in MLflow"):
            forget(project, tmp_path, [folders[0].name, wrong])
    with FileLock(folders[1] / "lock"), pytest.raises(HarnessError, match=r"is being made; stop it, then delete it$"):
        forget(project, tmp_path, [folder.name for folder in folders])
    assert recorded(project, named) == sorted(each.name for each in folders)
