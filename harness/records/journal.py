"""The journal: every fact of a run, one JSON line each, appended and fsynced beside the run before anyone else hears.

MLflow is fed from it and can be fed again; reports parse it. A line cut short by a crash is dropped when it is read.
"""

import os
from pathlib import Path

from pydantic import ValidationError

from harness.files import write_whole
from harness.records.events import FACT, Fact
from harness.values import HarnessError

NAME = "journal.jsonl"


def read(folder: Path) -> list[Fact]:
    """The facts of a run so far; empty when there is no journal."""
    path = folder / NAME
    return parse(path.read_bytes()) if path.exists() else []


def parse(text: bytes) -> list[Fact]:
    """The facts in a journal's text; what follows the first unreadable line is not trusted.

    An attempt that is taken up again after a failure goes on in the same journal, so only the last end counts.
    """
    facts: list[Fact] = []
    for line in text.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            facts.append(FACT.validate_json(line))
        except ValidationError:
            break
    return facts


class Journal:
    """Appends to a run's journal. A fact that is already there (a resumed run repeats epochs) is not written twice.

    Raises:
        HarnessError: a whole line that is no fact; nothing is changed.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME
        text = self._path.read_bytes() if self._path.exists() else b""
        facts = parse(text)
        lines = text.splitlines(keepends=True)
        if any(line.endswith(b"\n") for line in lines[len(facts) :]):
            raise HarnessError(
                f"line {len(facts) + 1} of {self._path} cannot be read, by this version of the harness at least; go "
                f"back to the version that wrote it, or remove {folder} to begin that run anew"
            )
        if len(lines) > len(facts):
            write_whole(self._path, *lines[: len(facts)])  # drops a torn last line
        self._known = {_identity(fact) for fact in facts}

    @classmethod
    def anew(cls, folder: Path) -> "Journal":
        """An empty journal in place of the one that is there."""
        (folder / NAME).unlink(missing_ok=True)
        return cls(folder)

    def append(self, fact: Fact) -> None:
        """Write a fact durably, once.

        Raises:
            OSError: the disk is full or read-only; the journal is as it was, so that the next fact is not lost with it.
        """
        identity = _identity(fact)
        if identity in self._known:
            return
        before = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("ab") as file:
                file.write(FACT.dump_json(fact) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            if self._path.exists():
                os.truncate(self._path, before)
            raise
        self._known.add(identity)


def _identity(fact: Fact) -> tuple[str, float]:
    """What makes two facts the same one: an epoch by its number, a failure by its time, the rest by their kind."""
    return fact.kind, fact.epoch if fact.kind == "epoch" else fact.time if fact.kind == "failed" else 0
