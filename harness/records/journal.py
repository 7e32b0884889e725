"""The journal of a run: one JSON line per event, appended and fsynced before the event is shown or delivered.

MLflow's rows and the reports are made from it. A last line that a crash left incomplete is dropped on reading.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from harness.environment.files import write_whole
from harness.records.events import EVENT, MEASURED, EpochDone, Event, Started, from_json
from harness.values import HarnessError

NAME = "journal.jsonl"


def read(folder: Path) -> list[Event]:
    """The events of a run so far; empty if there is no journal."""
    return parse(_content(folder))


def parse(text: bytes) -> list[Event]:
    """Parse a journal; the first unreadable line and everything after it are ignored."""
    events: list[Event] = []
    for line in text.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            events.append(from_json(line))
        except ValueError:  # from pydantic, json or from_json
            break
    return events


def _content(folder: Path) -> bytes:
    path = folder / NAME
    if path.exists() and not path.is_file():  # reading a pipe would block forever
        raise HarnessError(f"{path} must be a file; remove it to begin that run anew")
    return path.read_bytes() if path.exists() else b""


def read_whole(folder: Path) -> list[Event]:
    """The events of a run so far; only a last line without an end may be unreadable.

    Raises:
        HarnessError: a complete line is not an event.
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
    """A run's journal for appending; `events` is its content.

    Raises:
        HarnessError: a complete line is not an event; the file is unchanged.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME
        self.events = read_whole(folder)
        if len(_content(folder).splitlines()) > len(self.events):
            self.rewrite(self.events)  # drops an incomplete last line

    @property
    def started(self) -> Started | None:
        return next((event for event in self.events if isinstance(event, Started)), None)

    @property
    def epochs(self) -> list[EpochDone]:
        return [event for event in self.events if isinstance(event, EpochDone)]

    def rewrite(self, events: Sequence[Event]) -> None:
        """Replace all events atomically."""
        write_whole(self._path, *(EVENT.dump_json(event) + b"\n" for event in events))
        self.events = list(events)

    def append(self, event: Event) -> None:
        """Append an event durably; an event that is already there is not written again, as resumed runs repeat epochs.

        If a repeated epoch has other results (on a GPU the order of summation may vary), the events from that epoch on
        are dropped, and the run counts as a new attempt that began at the time of this event.

        Raises:
            OSError: the disk is full or read-only; the journal is unchanged, so later events can still be appended.
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
    """Identifies an event within a run: an epoch by its number, a failure or resumption by its time, others by kind."""
    if event.kind == "epoch":
        return event.kind, event.epoch
    return event.kind, event.time if event.kind in ("failed", "resumed") else 0


def _results(event: Event) -> dict[str, object]:
    return event.model_dump(exclude=set(MEASURED))


def _begun_anew(event: Event, time: float) -> Event:
    return event.model_copy(update={"time": time}) if isinstance(event, Started) else event
