"""Who is making a run: a lock that its machine's kernel keeps, and for all other machines a heartbeat in its folder.

A kernel's lock ends with its process, at once, but other machines may not see it. So whoever holds a run also keeps
`alive.json` in its folder, renews its time every few seconds and removes it at the end. All times are the file
server's own, so clocks that disagree do no harm.
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
"""A heartbeat of another machine that is older counts as stopped: eighteen beats were missed."""
_PATIENCE_SECONDS = 1.0
"""For the kernel's lock: a delivery takes it for an instant to see whether it is held."""


class Holder(Values):
    """The process that holds a run."""

    host: str
    kernel: str
    """Names one boot of one machine; containers on it share its kernel, and so its locks."""
    process: int
    token: str


class Held:
    """A run that this process holds, its heartbeat renewed by a thread until `release`."""

    def __init__(self, path: Path, holder: Holder):
        self.lost = False
        """Another machine has taken the run over, since no heartbeat came from here for too long."""
        self._path, self._holder, self._over = path, holder, threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Stop the heartbeat and remove its file, if it still is this process's."""
        self._over.set()
        self._thread.join()
        if _holder(self._path) == self._holder:
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # a file server that does not answer: another beat may reach it
                if _holder(self._path) != self._holder:
                    self.lost = True
                    return
                os.utime(self._path)


@contextmanager
def hold(folder: Path) -> Iterator[Held | None]:
    """Hold the run in this folder for the duration; None where another process has it, here or on another machine."""
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


def is_held(folder: Path) -> bool:
    """Whether a process is making the run in this folder, on any machine that shares it."""
    if not (folder / "lock").exists():
        return False
    try:
        with FileLock(folder / "lock", timeout=0):
            return _held_elsewhere(folder / NAME)
    except Timeout:
        return True


def _claim(path: Path) -> Holder | None:
    """Make the heartbeat's file this process's, who has the kernel's lock; None if another machine keeps it alive."""
    mine = Holder(host=socket.gethostname(), kernel=_kernel(), process=os.getpid(), token=uuid4().hex)
    if path.exists() and (_held_elsewhere(path) or not _removed_in_turn(path)):
        return None
    return mine if _created(path, mine.model_dump_json()) else None


def _removed_in_turn(path: Path) -> bool:
    """Remove a heartbeat that has stopped; False where another machine is doing so, or has replaced it."""
    turn = path.with_name(f"{path.name}.turn")
    if not _created(turn, ""):
        if not _is_fresh(turn):  # its process died within the next four lines
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
    """Whether this process, and no other, has made the file; exclusive also on a network file system."""
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _held_elsewhere(path: Path) -> bool:
    """Whether another machine keeps this heartbeat alive. One of this machine's own says nothing: its lock does."""
    holder = _holder(path)
    return (holder is None or holder.kernel != _kernel()) and _is_fresh(path)


def _is_fresh(path: Path) -> bool:
    """Whether a file was changed lately, by the file server's clock alone."""
    try:
        with path.open("rb") as file:  # opening it has a network file system ask its server for the time of change
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
    """Whom a heartbeat's file names; None if it is missing or being written."""
    try:
        return Holder.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


@functools.cache
def _kernel() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else socket.gethostname()
