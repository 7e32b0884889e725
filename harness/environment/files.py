"""Files that are whole or not there."""

import os
import re
import shutil
from pathlib import Path

import psutil


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Put a file in place of `path` at once, and for good: whoever reads it meanwhile, or after a crash, finds the old
    one or the new.

    Raises:
        OSError: the disk is full or read-only; the old file is untouched.
    """
    remove_leftovers(path.parent, f"{path.name}.")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # other processes may write the same file
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
        move_into_place(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _naming(path, error) from error


def move_into_place(temporary: Path, path: Path) -> None:
    """Rename a file that is whole to `path`, for good: its content reaches the disk before its name does.

    Raises:
        OSError: the disk is full or read-only; `path` is untouched, or the new file.
    """
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_folder(path.parent)


def put(source: Path, path: Path, link_from: int) -> None:
    """Put a file at `path`, whole and for good: a second name of `source`, where it has at least `link_from` bytes and
    lies on the same file system, else a copy with its time of change.

    Raises:
        OSError: as `write_whole`, and when `source` cannot be read.
    """
    remove_leftovers(path.parent, f"{path.name}.")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        if not (source.stat().st_size >= link_from and _linked(source, temporary)):
            shutil.copy2(source, temporary)
        move_into_place(temporary, path)
        temporary.unlink(missing_ok=True)  # a rename between two names of one file does nothing
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _naming(path, error) from error


def _linked(source: Path, path: Path) -> bool:
    try:
        path.hardlink_to(source)
    except OSError:  # another file system, or one without links
        return False
    return True


def _naming(path: Path, error: OSError) -> OSError:
    """The error with a file's name in it: a write or fsync that fails names none."""
    if error.filename is None and error.errno is not None:
        return OSError(error.errno, error.strerror, str(path))
    return error


def remove_leftovers(folder: Path, start: str) -> None:
    """Remove what processes that were killed have left in a folder: entries named `start`, then a process id."""
    for left in folder.glob(f"{start}*"):
        process = re.match(r"\d{1,9}(?=[-.])", left.name.removeprefix(start))
        if process and not psutil.pid_exists(int(process[0])):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk: a rename in it is then there after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
