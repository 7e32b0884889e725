"""The journal: every fact of a run, one JSON line each, appended and fsynced beside the run before anyone else hears.

MLflow is fed from it and can be fed again; reports parse it. A line cut short by a crash is dropped when it is read.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from harness.files import write_whole
from harness.records.events import FACT, MEASURED, EpochDone, Fact, Started, from_json
from harness.values import HarnessError

NAME = "journal.jsonl"


def read(folder: Path) -> list[Fact]:
    """The facts of a run so far; empty when there is no journal."""
    return parse(_content(folder))


def parse(text: bytes) -> list[Fact]:
    """The facts in a journal's text; what follows the first unreadable line is not trusted.

    An attempt that is taken up again after a failure goes on in the same journal, so only the last end counts.
    """
    facts: list[Fact] = []
    for line in text.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            facts.append(from_json(line))
        except ValueError:  # pydantic's, json's and ours
            break
    return facts


def _content(folder: Path) -> bytes:
    path = folder / NAME
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise HarnessError(f"{path} must be a file; remove it to begin that run anew")
    return path.read_bytes() if path.exists() else b""


class Journal:
    """A run's journal, open for appending; `facts` are those that it holds.

    Raises:
        HarnessError: a whole line that is no fact; nothing is changed.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME
        text = _content(folder)
        self.facts = parse(text)
        lines = text.splitlines(keepends=True)
        if any(line.endswith(b"\n") for line in lines[len(self.facts) :]):
            raise HarnessError(
                f"line {len(self.facts) + 1} of {self._path} cannot be read, by this version of the harness at least; "
                f"go back to the version that wrote it, or remove {folder} to begin that run anew"
            )
        if len(lines) > len(self.facts):
            self.rewrite(self.facts)  # drops a torn last line

    @property
    def started(self) -> Started | None:
        return next((fact for fact in self.facts if isinstance(fact, Started)), None)

    @property
    def epochs(self) -> list[EpochDone]:
        return [fact for fact in self.facts if isinstance(fact, EpochDone)]

    def rewrite(self, facts: Sequence[Fact]) -> None:
        """Put these facts in place of all that are there, at once."""
        write_whole(self._path, *(FACT.dump_json(fact) + b"\n" for fact in facts))
        self.facts = list(facts)

    def append(self, fact: Fact) -> None:
        """Write a fact durably, once: a resumed run repeats epochs.

        A repeated epoch with other results (on a GPU sums may be taken in another order) is another trajectory: what
        was recorded from that epoch on is dropped, and the run counts as a new attempt from the time of this fact.

        Raises:
            OSError: the disk is full or read-only; the journal is as it was, so that the next fact is not lost with it.
        """
        known = next((n for n, old in enumerate(self.facts) if _identity(old) == _identity(fact)), None)
        if known is not None:
            if fact.kind != "epoch" or _results(fact) == _results(self.facts[known]):
                return
            self.rewrite([_begun_anew(old, fact.time) for old in self.facts[:known]])
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
        self.facts.append(fact)


def _identity(fact: Fact) -> tuple[str, float]:
    """What makes two facts the same one: an epoch by its number, a failure by its time, the rest by their kind."""
    return fact.kind, fact.epoch if fact.kind == "epoch" else fact.time if fact.kind == "failed" else 0


def _results(fact: Fact) -> dict[str, object]:
    return fact.model_dump(exclude=set(MEASURED))


def _begun_anew(fact: Fact, time: float) -> Fact:
    return fact.model_copy(update={"time": time}) if isinstance(fact, Started) else fact
