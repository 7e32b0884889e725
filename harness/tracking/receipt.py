"""The sync state of a run: what MLflow has received. Stored beside the journal to avoid queries; it may be lost."""

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.environment.files import write_whole
from harness.records import journal

NAME = "delivered.json"
Sent = tuple[int, int, str]
"""A delivered file: (size in bytes, modification time in ns since 1970, SHA-256)."""


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
    """Size and modification time of the delivered journal of an ended run, so that it need not be read again."""
    artifacts: dict[str, Sent] | None = None
    """Name → delivered file, including the journal, for an ended run."""
    compared: float = 0.0
    """When the server's artifacts were last compared by content, in seconds since 1970."""

    @classmethod
    def read(cls, folder: Path) -> "Receipt":
        """Read the receipt beside the journal; an empty one if it is missing or damaged."""
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            kept = cls(**json.loads((folder / NAME).read_text()))
            artifacts = {name: (size, when, sha) for name, (size, when, sha) in (kept.artifacts or {}).items()}
            size, when = kept.journal or (0, 0)
            return cls(**asdict(kept) | {"artifacts": artifacts or None, "journal": (size, when) if size else None})
        return cls()

    def save(self, folder: Path) -> None:
        write_whole(folder / NAME, json.dumps(asdict(self)).encode())

    def covers(self, folder: Path) -> bool:
        """True if the run has ended, was delivered completely, and its journal has not changed since."""
        with contextlib.suppress(OSError):
            return self.journal is not None and self.journal == stamp(folder / journal.NAME)
        return False


def stamp(path: Path) -> tuple[int, int]:
    """A file's size and modification time; while both are the same, its content is taken to be unchanged."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
