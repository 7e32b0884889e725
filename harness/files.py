"""Files that are whole or not there."""

import os
from pathlib import Path

import psutil


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Put a file in place of `path` at once, and for good: whoever reads it meanwhile, or after a crash, finds the old
    one or the new.

    Raises:
        OSError: the disk is full or read-only; the old file is untouched.
    """
    _sweep(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # other processes may write the same file
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def _sweep(path: Path) -> None:
    """Remove what processes that were killed while they wrote this file have left beside it."""
    for left in path.parent.glob(f"{path.name}.*.tmp"):
        process = left.name.removeprefix(f"{path.name}.").removesuffix(".tmp")
        if process.isdecimal() and len(process) < 10 and not psutil.pid_exists(int(process)):
            left.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk: a rename in it is then there after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
