"""A file is put in place whole, or the old one stays; `test_checkpoint` shows in which order the disk is told."""

import os
import subprocess
from pathlib import Path

import pytest

from harness.files import write_whole


def test_parts_follow_each_other_and_take_the_old_files_place(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text("old, and longer than the new one")
    write_whole(tmp_path / "file.json", b"new", memoryview(b" one"))
    assert (tmp_path / "file.json").read_text() == "new one"
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing beside it."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_whole(tmp_path / "file", b"new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    """A file half written when its process was killed goes; one that a living process writes, or another file, stays."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    stays = {f"file.{os.getppid()}.tmp", f"other.{dead.pid}.tmp", "file.99999999999999999999.tmp", "file.x.tmp"}
    for name in {f"file.{dead.pid}.tmp", *stays}:
        (tmp_path / name).write_text("hal")
    write_whole(tmp_path / "file", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"file", *stays}
