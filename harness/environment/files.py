"""Write files atomically: they are either complete or absent, even after a crash."""

import os
import re
import shutil
from pathlib import Path

import psutil

from harness.values import HarnessError


def typed_path(text: str, option: str) -> Path:
    """A path as it was typed, with ~ as the home folder: not every shell expands it behind a variable's `=`.

    Raises:
        HarnessError: ~ and the name of a user who has no home folder; `option` names what was typed.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise HarnessError(f"{option}: {text!r} begins with a user who has no home folder; give the path") from error


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Replace the file at `path` atomically and durably: readers, also after a crash, see the old or the new content.

    Raises:
        OSError: the disk is full or read-only; the old file is unchanged.
    """
    remove_leftovers(path.parent, f"{path.name}.")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # one per process, as others may write the same file
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
        move_into_place(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _naming(path, error) from error


def move_into_place(temporary: Path, path: Path) -> None:
    """Rename a complete file to `path` durably: its content is synced to disk before the rename.

    Raises:
        OSError: the disk is full or read-only; `path` is either unchanged or the new file.
    """
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_folder(path.parent)


def put(source: Path, path: Path, link_from: int) -> None:
    """Put `source` at `path` atomically: a hard link if it has at least `link_from` bytes and is on the same file
    system, otherwise a copy with the same modification time.

    Raises:
        OSError: as in `write_whole`, or `source` cannot be read.
    """
    remove_leftovers(path.parent, f"{path.name}.")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        if not (source.stat().st_size >= link_from and _linked(source, temporary)):
            shutil.copy2(source, temporary)
        move_into_place(temporary, path)
        temporary.unlink(missing_ok=True)  # renaming between two hard links of one file does nothing
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _naming(path, error) from error


def _linked(source: Path, path: Path) -> bool:
    try:
        path.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        return False
    return True


def _naming(path: Path, error: OSError) -> OSError:
    """Add a file name to an error that has none, such as that of a failed write or fsync."""
    if error.filename is None and error.errno is not None:
        return OSError(error.errno, error.strerror, str(path))
    return error


def remove_leftovers(folder: Path, start: str) -> None:
    """Remove leftovers of killed processes in a folder: entries named `start` followed by the id of a dead process."""
    for left in folder.glob(f"{start}*"):
        process = re.match(r"\d{1,9}(?=[-.])", left.name.removeprefix(start))
        if process and not psutil.pid_exists(int(process[0])):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk, so that renames in it survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
