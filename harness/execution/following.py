"""Communication between a command and its workers: new journal events, and a file that tells workers to continue."""

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from harness.records import journal
from harness.records.events import Event

_MONTH = 30 * 86_400.0


class Follower:
    """Reads the new events of a journal: only what was appended, or everything if the journal was rewritten."""

    def __init__(self, folder: Path):
        self._path = folder / journal.NAME
        self._inode, self._offset, self._seen = 0, 0, list[Event]()
        self.fresh()

    def fresh(self) -> list[Event]:
        """The events added since the last call, or since this object was created."""
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self._offset:
                    self._inode, self._offset = found.st_ino, 0
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return []
        events = [event for event in journal.parse(text) if event not in self._seen]
        self._offset += text.rfind(b"\n") + 1
        self._seen += events
        return events


@contextmanager
def lifeline(folder: Path) -> Iterator[Path]:
    """Create a file that workers watch: they continue as long as it exists."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("grid-*.alive"):
        with contextlib.suppress(OSError):  # another command may have removed it
            if left.stat().st_mtime < time.time() - _MONTH:
                left.unlink()
    path = folder / f"grid-{uuid4().hex}.alive"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
