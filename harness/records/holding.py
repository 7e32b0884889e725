"""Lock a run's folder: a file lock for processes on the same machine, a heartbeat file for other machines.

A file lock is released as soon as its process ends, but other machines may not see it. The process that holds a run
therefore also creates `alive.json` in its folder, touches it every few seconds and removes it at the end. Only the file
server's clock is used, so differing clocks do no harm.
"""

import contextlib
import functools
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout
from pydantic import ValidationError

from harness.values import Values

NAME = "alive.json"
BEAT_SECONDS = 5.0
STALE_SECONDS = 90.0
"""A heartbeat of another machine that is older counts as stopped, after eighteen missed beats."""
_PATIENCE_SECONDS = 1.0
"""Time to wait for the file lock, which deliveries take for a moment to see whether it is held."""


class Holder(Values):
    """The process that has locked a run."""

    host: str
    kernel: str
    """Identifies one boot of one machine; containers on it share its kernel, and so its file locks."""
    process: int
    token: str


class Held:
    """A run locked by this process; a thread renews its heartbeat until `release`."""

    def __init__(self, path: Path, holder: Holder):
        self.lost = False
        """True if another machine has taken over the run because this process's heartbeat was late."""
        self._path, self._holder, self._over = path, holder, threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Stop the heartbeat and remove its file if it still belongs to this process."""
        self._over.set()
        self._thread.join()
        if _holder(self._path) == self._holder:
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # the file server does not answer; the next beat may reach it
                if _holder(self._path) != self._holder:
                    self.lost = True
                    return
                os.utime(self._path)


@contextmanager
def hold(folder: Path) -> Iterator[Held | None]:
    """Context that locks the run in this folder; yields None if a process on any machine has already locked it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", timeout=_PATIENCE_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        yield None
        return
    try:
        holder = _claim(folder / NAME)
        held = Held(folder / NAME, holder) if holder else None
        try:
            yield held
        finally:
            if held:
                held.release()
    finally:
        lock.release()


def remove_left(folder: Path) -> None:
    """Remove the heartbeat that a killed process left behind; nothing happens while any process holds the run."""
    if (folder / NAME).exists():
        with hold(folder):
            pass


def is_held(folder: Path) -> bool:
    """True if a process on any machine is making the run in this folder."""
    if not (folder / "lock").exists():
        return False
    try:
        with FileLock(folder / "lock", timeout=0):
            return _held_elsewhere(folder / NAME)
    except Timeout:
        return True


def last_holder(folder: Path) -> Holder | None:
    """The process that holds the run in this folder, or held it when it was killed; None after a normal end."""
    return _holder(folder / NAME)


def _claim(path: Path) -> Holder | None:
    """Take over the heartbeat file, given the file lock; returns None if another machine keeps the heartbeat alive."""
    mine = Holder(host=socket.gethostname(), kernel=_kernel(), process=os.getpid(), token=uuid4().hex)
    if path.exists() and (_held_elsewhere(path) or not _removed_in_turn(path)):
        return None
    return mine if _created(path, mine.model_dump_json()) else None


def _removed_in_turn(path: Path) -> bool:
    """Remove a stopped heartbeat; returns False if another machine is removing it or has replaced it."""
    turn = path.with_name(f"{path.name}.turn")
    if not _created(turn, ""):
        if not _is_fresh(turn):  # its process died within the four lines below
            turn.unlink(missing_ok=True)
        return False
    try:
        if _held_elsewhere(path):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        turn.unlink(missing_ok=True)


def _created(path: Path, text: str) -> bool:
    """Create a file exclusively, also on network file systems; returns False if it exists already."""
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _held_elsewhere(path: Path) -> bool:
    """True if another machine keeps this heartbeat alive; on this machine the file lock decides instead."""
    holder = _holder(path)
    return (holder is None or holder.kernel != _kernel()) and _is_fresh(path)


def _is_fresh(path: Path) -> bool:
    """True if a file was modified recently, judged only by the file server's clock."""
    try:
        with path.open("rb") as file:  # opening it makes a network file system fetch the modification time
            changed = os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return False
    probe = path.with_name(f"{path.name}.{uuid4().hex}.now")
    try:
        probe.touch()
        now = probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
    return now - changed < STALE_SECONDS


def _holder(path: Path) -> Holder | None:
    """The process named in a heartbeat file; None if the file is missing or being written."""
    try:
        return Holder.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


@functools.cache
def _kernel() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else socket.gethostname()
