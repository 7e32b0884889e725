"""A file is put in place whole, or the old one stays; `test_checkpoint` shows in which order the disk is told."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.environment.files import put, typed_path, write_whole
from harness.values import HarnessError


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


@pytest.mark.parametrize("broken", ["fsync", "write"])
def test_a_full_disk_is_named_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """The system names no file when a write or an fsync fails, and a line without one helps nobody."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "source").write_bytes(b"12345")
    monkeypatch.setattr(*((os, "fsync") if broken == "fsync" else (shutil, "copy2")), full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        put(tmp_path / "source", tmp_path / "file", link_from=100)
    assert raised.value.filename == str(tmp_path / "file")
    if broken == "fsync":
        with pytest.raises(OSError, match="No space left on device") as raised:
            write_whole(tmp_path / "file", b"new")
        assert raised.value.filename == str(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_large_file_gets_a_second_name_and_a_small_one_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its size or above it; where the file system has no links, or the file is there already, it is whole too. A
    copy keeps the time of change."""
    source, path = tmp_path / "source", tmp_path / "file"
    source.write_bytes(b"12345")
    os.utime(source, ns=(1_000, 2_000))
    for link_from, same in ((5, True), (5, True), (6, False), (5, True)):
        put(source, path, link_from)
        assert (path.samefile(source), path.read_bytes(), path.stat().st_mtime_ns) == (same, b"12345", 2_000)
    write_whole(source, b"other")
    assert path.read_bytes() == b"12345"

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    put(source, path, 5)
    assert (path.samefile(source), path.read_bytes()) == (False, b"other")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "source"]


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    """A file half written when its process was killed goes; one that a living process writes stays, as others do."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    stays = {f"file.{os.getppid()}.tmp", f"other.{dead.pid}.tmp", "file.99999999999999999999.tmp", "file.x.tmp"}
    for name in {f"file.{dead.pid}.tmp", *stays}:
        (tmp_path / name).write_text("hal")
    write_whole(tmp_path / "file", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"file", *stays}
    (tmp_path / f"file.{dead.pid}.tmp").write_text("hal")
    put(tmp_path / "file.x.tmp", tmp_path / "file", link_from=1)
    assert {path.name for path in tmp_path.iterdir()} == {"file", *stays}


def test_a_typed_home_folder_is_expanded_and_a_strangers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert typed_path("~/a b", "IMAGES") == Path("/home/me/a b")
    with pytest.raises(HarnessError, match=r"^IMAGES: '~nobody_here/x' begins with a user who has no home folder"):
        typed_path("~nobody_here/x", "IMAGES")
