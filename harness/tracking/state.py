"""The state of a run and of its delivery, from the files in its folder and without network calls."""

from collections.abc import Sequence
from pathlib import Path

from harness.plans.spec import RunSpec
from harness.records import journal
from harness.records.events import ENDS, Event, Started
from harness.records.holding import is_held
from harness.tracking.receipt import Receipt

FINAL = ("finished", "diverged")
"""States after which a run is never resumed."""


def state_of(folder: Path, events: Sequence[Event]) -> str:
    """The state of a run: how it ended, or else "running" if a process holds it and "interrupted" if none does."""
    if events[-1].kind in ENDS:
        return events[-1].kind
    return "running" if is_held(folder) else "interrupted"


def lacking(folder: Path) -> bool:
    """True if the sync state of this run's folder shows undelivered events; no network call."""
    receipt = Receipt.read(folder)
    if receipt.covers(folder):
        return False
    events = journal.read(folder)
    started = begun(events)
    if started is None:
        return False
    return (receipt.attempt, receipt.events, receipt.state) != (started.time, len(events), state_of(folder, events))


def begun(events: Sequence[Event]) -> Started | None:
    """The `Started` event, if there is one. Failures may precede it, for example for lack of memory."""
    return next((event for event in events if isinstance(event, Started)), None)


def attempt_tag(time: float) -> str:
    """The value of the tag `attempt` for a run that began at this time."""
    return f"{time:.6f}"


def run_key(folder: Path, spec: RunSpec) -> str:
    """The key that a run was recorded under: its folder's name, even if today's code would give it another key."""
    stem = f"{spec.experiment}-{spec.variant}-s{spec.seed}-"
    return folder.name if folder.name.startswith(stem) else spec.key


def epochs(events: Sequence[Event]) -> int:
    """The number of recorded epochs."""
    return sum(event.kind == "epoch" for event in events)
