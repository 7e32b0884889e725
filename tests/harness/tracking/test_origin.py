"""A project that is moved keeps its name; a copy of one draws its own, wherever the original is."""

import json
import platform
import shutil
from pathlib import Path

import pytest

from harness.tracking.origin import Origin, origin_of


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
