"""The journal: every event of a run, one JSON line each, appended and fsynced beside the run before anyone else hears.

MLflow is fed from it and can be fed again; reports parse it. A line cut short by a crash is dropped when it is read.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from harness.environment.files import write_whole
from harness.records.events import EVENT, MEASURED, EpochDone, Event, Started, from_json
from harness.values import HarnessError

NAME = "journal.jsonl"


def read(folder: Path) -> list[Event]:
    """The events of a run so far; empty when there is no journal."""
    return parse(_content(folder))


def parse(text: bytes) -> list[Event]:
    """The events in a journal's text; what follows the first unreadable line is not trusted.

    An attempt that is taken up again after a failure goes on in the same journal, so only the last end counts.
    """
    events: list[Event] = []
    for line in text.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            events.append(from_json(line))
        except ValueError:  # pydantic's, json's and ours
            break
    return events


def _content(folder: Path) -> bytes:
    path = folder / NAME
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise HarnessError(f"{path} must be a file; remove it to begin that run anew")
    return path.read_bytes() if path.exists() else b""


def read_whole(folder: Path) -> list[Event]:
    """The events of a run so far, where nothing follows them but a torn last line.

    Raises:
        HarnessError: a whole line that is not an event.
    """
    text = _content(folder)
    events, lines = parse(text), text.splitlines(keepends=True)
    if any(line.endswith(b"\n") for line in lines[len(events) :]):
        raise HarnessError(
            f"line {len(events) + 1} of {folder / NAME} cannot be read, by this version of the harness at least; "
            f"go back to the version that wrote it, or remove {folder} to begin that run anew"
        )
    return events


class Journal:
    """A run's journal, open for appending; `events` are those that it holds.

    Raises:
        HarnessError: a whole line that is not an event; nothing is changed.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME
        self.events = read_whole(folder)
        if len(_content(folder).splitlines()) > len(self.events):
            self.rewrite(self.events)  # drops a torn last line

    @property
    def started(self) -> Started | None:
        return next((event for event in self.events if isinstance(event, Started)), None)

    @property
    def epochs(self) -> list[EpochDone]:
        return [event for event in self.events if isinstance(event, EpochDone)]

    def rewrite(self, events: Sequence[Event]) -> None:
        """Put these events in place of all that are there, at once."""
        write_whole(self._path, *(EVENT.dump_json(event) + b"\n" for event in events))
        self.events = list(events)

    def append(self, event: Event) -> None:
        """Write an event durably, once: a resumed run repeats epochs.

        A repeated epoch with other results (on a GPU sums may be taken in another order) is another trajectory: what
        was recorded from that epoch on is dropped, and the run counts as a new attempt from the time of this event.

        Raises:
            OSError: the disk is full or read-only; the journal is as it was, so the next event is not lost with it.
        """
        known = next((n for n, old in enumerate(self.events) if _identity(old) == _identity(event)), None)
        if known is not None:
            if event.kind != "epoch" or _results(event) == _results(self.events[known]):
                return
            self.rewrite([_begun_anew(old, event.time) for old in self.events[:known]])
        before = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("ab") as file:
                file.write(EVENT.dump_json(event) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            if self._path.exists():
                os.truncate(self._path, before)
            raise
        self.events.append(event)


def _identity(event: Event) -> tuple[str, float]:
    """What makes two events the same one: an epoch by its number, a failure or a resumption by its time, the
    rest by their kind."""
    if event.kind == "epoch":
        return event.kind, event.epoch
    return event.kind, event.time if event.kind in ("failed", "resumed") else 0


def _results(event: Event) -> dict[str, object]:
    return event.model_dump(exclude=set(MEASURED))


def _begun_anew(event: Event, time: float) -> Event:
    return event.model_copy(update={"time": time}) if isinstance(event, Started) else event
