"""A project that is moved keeps its name; a copy of one draws its own, and neither touches the other's runs."""

import json
import platform
import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.records.events import Event
from harness.tracking.delivery import Delivery
from harness.tracking.forget import forget
from harness.tracking.origin import Origin, origin_of
from harness.tracking.tracker import Tracker
from tests.harness.runs import begun, write
from tests.harness.tracking.conftest import mlflow_runs


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    return root


def test_a_project_keeps_its_name(project: Path, tmp_path: Path) -> None:
    """Asked again, moved, with `runs/` deleted where its own store has the name too, and on another machine that sees
    the same folder."""
    name = origin_of(project, is_own=True).name
    assert origin_of(project, is_own=True).name == name
    project.rename(tmp_path / "moved")
    assert origin_of(tmp_path / "moved", is_own=True).name == name
    shutil.rmtree(tmp_path / "moved" / "runs")
    found = origin_of(tmp_path / "moved", is_own=True)
    assert (found.name, found.path) == (name, str(tmp_path / "moved"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(platform, "node", lambda: "elsewhere")
        assert origin_of(tmp_path / "moved", is_own=True).name == name


@pytest.mark.parametrize("opened", ["copy first", "original first"])
def test_a_copy_draws_a_name_of_its_own(project: Path, tmp_path: Path, opened: str) -> None:
    """Whichever is used first, and also a copy of the copy; the original keeps its own."""
    name = origin_of(project, is_own=False).name
    shutil.copytree(project, tmp_path / "copy")
    places = [tmp_path / "copy", project]
    found = {place: origin_of(place, is_own=False) for place in (places if "copy" in opened[:4] else places[::-1])}
    assert found[project].name == name != found[tmp_path / "copy"].name
    assert found[tmp_path / "copy"].before == (name,)
    shutil.copytree(tmp_path / "copy", tmp_path / "third")
    third = origin_of(tmp_path / "third", is_own=False)
    assert third.before == (found[tmp_path / "copy"].name, name)
    assert origin_of(tmp_path / "third", is_own=False) == third


def test_what_is_left_of_a_project_elsewhere_is_the_project(project: Path, tmp_path: Path) -> None:
    """Copied and then deleted, as `mv` does between file systems; put back from a backup at the same path."""
    name = origin_of(project, is_own=False).name
    shutil.copytree(project, tmp_path / "disk")
    shutil.rmtree(project)
    assert origin_of(tmp_path / "disk", is_own=False).name == name
    shutil.copytree(tmp_path / "disk", tmp_path / "backup")
    shutil.rmtree(tmp_path / "disk")
    shutil.copytree(tmp_path / "backup", tmp_path / "disk")
    assert origin_of(tmp_path / "disk", is_own=False).name == name


def test_a_copy_on_another_machine_does_not_take_the_name(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot see whether the original lives on."""
    name = origin_of(project, is_own=False).name
    shutil.copytree(project, tmp_path / "copy")
    shutil.rmtree(project)
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    assert origin_of(tmp_path / "copy", is_own=False).name != name


@pytest.mark.parametrize("text", ["", "{", "{}", '{"name": 1, "inodes": 2}', '{"more": 1, "inodes": [1, 2]}'])
def test_a_damaged_file_is_none(project: Path, text: str) -> None:
    """A new name is drawn."""
    (project / "runs").mkdir()
    (project / "runs" / "origin").write_text(text)
    assert len(origin_of(project, is_own=False).name) == 32
    assert json.loads((project / "runs" / "origin").read_text())["before"] == []


def test_a_name_of_before_november_2026_is_kept(project: Path) -> None:
    """It stood alone in its file; from now on the place is recorded."""
    (project / "runs").mkdir()
    (project / "runs" / "origin").write_text("0123456789abcdef")
    found = origin_of(project, is_own=False)
    assert (found.name, found.path) == ("0123456789abcdef", str(project))
    assert found == origin_of(project, is_own=False)
    assert isinstance(found, Origin)


def test_what_another_project_made_of_the_same_run_is_left_alone(
    client: MlflowClient, tracker: Tracker, named: list[Event], tmp_path: Path
) -> None:
    """Two projects that record in one store: each keeps its run, and a reader gets one that is finished."""
    projects = [tmp_path / name for name in ("ours", "theirs")]
    for project, events in zip(projects, (named, named[:3]), strict=True):
        project.mkdir()
        first = begun(named).model_copy(update={"time": 2000.0}) if project.name == "theirs" else begun(named)
        write(project / "run", [first, *events[1:]])
        Delivery(Tracker(project, tracker.store.uri)).deliver(project / "run")
    made = mlflow_runs(client, named)
    assert sorted(run.data.tags["state"] for run in made) == ["finished", "interrupted"]
    assert len({run.data.tags["origin"] for run in made}) == 2
    (one,) = tracker.runs(begun(named).spec.experiment).values()
    assert one.state == "finished"


def test_a_copy_of_a_project_leaves_the_original_s_runs_alone(
    client: MlflowClient, tracker: Tracker, named: list[Event], tmp_path: Path
) -> None:
    """Both record in one store. What was delivered before the copy was made is not delivered twice, a run that the copy
    makes anew or goes on with is a run of its own, and what it deletes is its own."""
    ours, copy = tmp_path / "ours", tmp_path / "copy"
    spec = begun(named).spec
    folders = {seed: Path("runs") / spec.experiment / spec.model_copy(update={"seed": seed}).key for seed in (0, 1)}

    def made(seed: int, time: float) -> list[Event]:
        start = {"spec": spec.model_copy(update={"seed": seed}), "time": time}
        return [begun(named).model_copy(update=start), *named[1:]]

    ours.mkdir()
    write(ours / folders[0], made(0, 1000.25))
    write(ours / folders[1], made(1, 1000.25)[:3])
    for folder in folders.values():
        Delivery(Tracker(ours, tracker.store.uri)).deliver(ours / folder)
    before = {run.info.run_id: dict(run.data.tags) for run in mlflow_runs(client, named)}
    shutil.copytree(ours, copy)
    theirs = Tracker(copy, tracker.store.uri)
    assert Delivery(theirs).deliver(copy / folders[0]) is None
    write(copy / folders[1], made(1, 1000.25))
    (copy / folders[0] / "journal.jsonl").unlink()
    write(copy / folders[0], made(0, 2000.0))
    for folder in folders.values():
        Delivery(theirs).deliver(copy / folder)
    assert len(mlflow_runs(client, named)) == 4
    forget(theirs, copy, [folder.name for folder in folders.values()])
    assert {run.info.run_id: dict(run.data.tags) for run in mlflow_runs(client, named)} == before
    write(ours / folders[1], made(1, 1000.25))
    Delivery(Tracker(ours, tracker.store.uri)).deliver(ours / folders[1])
    assert {run.info.run_id for run in mlflow_runs(client, named)} == set(before)
