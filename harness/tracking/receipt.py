"""How much of a run MLflow has, kept beside the run's journal: it saves asking and sending again, and may be lost."""

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.environment.files import write_whole
from harness.records import journal

NAME = "delivered.json"
Sent = tuple[int, int, str]
"""A file that was delivered: its bytes, its time of change in ns since 1970, its SHA-256."""


@dataclass(frozen=True)
class Receipt:
    attempt: float | None = None
    run_id: str | None = None
    events: int = 0
    state: str | None = None
    experiment: str = ""
    key: str = ""
    epochs: int | None = None
    journal: tuple[int, int] | None = None
    """Of an ended run whose journal was delivered: its bytes and its time of change, so that it need not be read."""
    artifacts: dict[str, Sent] | None = None
    """Of an ended run: name → what was delivered, the journal itself among it."""
    compared: float = 0.0
    """When a server's artifacts were last compared with these by content, in seconds since 1970."""

    @classmethod
    def read(cls, folder: Path) -> "Receipt":
        """What was kept beside the journal; an empty one when that is missing or torn."""
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            kept = cls(**json.loads((folder / NAME).read_text()))
            artifacts = {name: (size, when, sha) for name, (size, when, sha) in (kept.artifacts or {}).items()}
            size, when = kept.journal or (0, 0)
            return cls(**asdict(kept) | {"artifacts": artifacts or None, "journal": (size, when) if size else None})
        return cls()

    def save(self, folder: Path) -> None:
        write_whole(folder / NAME, json.dumps(asdict(self)).encode())

    def covers(self, folder: Path) -> bool:
        """Whether the run has ended, all of it was delivered, and its journal is the one that was."""
        with contextlib.suppress(OSError):
            return self.journal is not None and self.journal == stamp(folder / journal.NAME)
        return False


def stamp(path: Path) -> tuple[int, int]:
    """A file's bytes and its time of change: while both stay, so does what is in it."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
