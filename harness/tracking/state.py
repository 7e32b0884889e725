"""What a run's folder says of it, without asking a store: how it stands, and whether all of it was delivered."""

from collections.abc import Sequence
from pathlib import Path

from harness.plans.spec import RunSpec
from harness.records import journal
from harness.records.events import ENDS, Event, Started
from harness.records.holding import is_held
from harness.tracking.receipt import Receipt

FINAL = ("finished", "diverged")
"""After these a run never goes on."""


def state_of(folder: Path, events: Sequence[Event]) -> str:
    """What is to be said of a run: how it ended, or whether somebody is at it."""
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
    """The beginning, if there is one: what failed before it, for want of memory say, may have begun since."""
    return next((event for event in events if isinstance(event, Started)), None)


def attempt_tag(time: float) -> str:
    """The tag `attempt` of the run that began then."""
    return f"{time:.6f}"


def run_key(folder: Path, spec: RunSpec) -> str:
    """The key that a run was recorded under: its folder's name, also where today's code would name it otherwise."""
    stem = f"{spec.experiment}-{spec.variant}-s{spec.seed}-"
    return folder.name if folder.name.startswith(stem) else spec.key


def epochs(events: Sequence[Event]) -> int:
    """How many epochs are recorded."""
    return sum(event.kind == "epoch" for event in events)
