"""Runs that are made already: found by what was asked of them, and only if all that they should have left is there."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import models
from harness.environment.files import put
from harness.execution.run import ended, run_folder
from harness.plans.spec import Model, RunSpec
from harness.records import journal
from harness.records.events import EpochDone, Event, Finished, Started
from harness.records.holding import hold
from harness.tracking.places import LINK_FROM_BYTES
from harness.tracking.receipt import Receipt, sha256, stamp
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Tracker
from harness.values import HarnessError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """A run that has ended, where it lies, and what is wrong with it, if anything."""

    folder: Path
    events: Sequence[Event]
    problem: str | None

    @property
    def started(self) -> Started:
        return next(event for event in self.events if isinstance(event, Started))

    @property
    def artifacts(self) -> Mapping[str, tuple[int, str]]:
        """What it should have left: name → bytes and SHA-256."""
        finished = next((event for event in reversed(self.events) if isinstance(event, Finished)), None)
        return finished.artifacts if finished else {}


def find_made(root: Path, spec: RunSpec) -> Made | None:
    """The run that `spec` asks for, if it has ended: under its own key, or under the key that it had before a field or
    an option came to recipes.

    Raises:
        HarnessError: its journal is not a file.
    """
    own = run_folder(root, spec)
    older = sorted(own.parent.glob(f"{spec.experiment}-{spec.variant}-s{spec.seed}-*"))
    for folder in [own, *(each for each in older if each != own)]:
        events = journal.read(folder)
        started = next((event for event in events if isinstance(event, Started)), None)
        if started and ended(events) and (folder == own or _asks_the_same(started.spec, spec)):
            return Made(folder, events, _incomplete(folder, events))
    return None


def repair(made: Made, tracker: Tracker | None, say: Say, make_again: bool = True) -> Made | None:
    """Bring back from the tracking store what a finished run has lost of its artifacts, each compared with the SHA-256
    that its journal recorded; None if that cannot be done.

    The run's folder is held meanwhile. One that another process holds is left to that process.

    Args:
        say: is told what was brought back, or why not.
        make_again: whether the journal of a run that stays incomplete is set aside, so that the run is made anew.
    """
    name = f"{made.started.spec.variant} seed {made.started.spec.seed}"
    with hold(made.folder) as held:
        if held is None:
            return None
        events = journal.read(made.folder)
        now = Made(made.folder, events, _incomplete(made.folder, events)) if ended(events) else None
        if now is None or not now.problem:  # another process has done it, or made it again
            return now
        problem, back = now.problem, list[str]()
        try:
            if tracker is not None:
                back = _bring_back(now, tracker)
            problem = _incomplete(made.folder, events)
        except (TrackingError, OSError) as error:
            problem = f"{problem}, and MLflow cannot give it back ({error})"
        if problem is None:
            say(f"{name}: put back from MLflow: {', '.join(back)}")
            return Made(made.folder, events, None)
        if make_again:
            (made.folder / journal.NAME).replace(made.folder / f"{journal.NAME}.damaged")
        say(f"{name}: {problem}; it is {'made again' if make_again else 'left out'}")
        return None


def made_before(
    root: Path, declared: Sequence[RunSpec], asked: Sequence[RunSpec], say: Say, tracker: Tracker | None = None
) -> list[Made]:
    """Whole runs of declared variants that are not asked for now: a report of an experiment never shrinks.

    Args:
        say: is told of a journal that cannot be read, and of a run that is left out.
        tracker: where artifacts that are lost here may still be.
    """
    keys, found = {spec.key for spec in asked}, list[Made]()
    for spec in declared:
        stem = f"{spec.experiment}-{spec.variant}-s"
        seeds = {
            int(seed)
            for path in (root / "runs" / spec.experiment).glob(f"{stem}*-*")
            if (seed := path.name.removeprefix(stem).partition("-")[0]).isdigit()
        }
        others = (spec.model_copy(update={"seed": seed}) for seed in sorted(seeds))
        for other in others:
            try:
                made = find_made(root, other) if other.key not in keys else None
            except HarnessError as error:
                say(str(error))
                continue
            if made and made.problem:
                made = repair(made, tracker, say, make_again=False)
            if made:
                found.append(made)
    return found


def _asks_the_same(recorded: RunSpec, asked: RunSpec) -> bool:
    """An option that a record lacks came later, with a default that changes nothing."""
    return _completed(recorded).identity == _completed(asked).identity


def _completed(spec: RunSpec) -> RunSpec:
    model = spec.recipe.model
    if model.name not in models.names():
        return spec
    complete = Model(name=model.name, **(models.options(model.name) | model.options))
    return spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"model": complete})})


def _incomplete(folder: Path, events: Sequence[Event]) -> str | None:
    started = next(event for event in events if isinstance(event, Started))
    spec = started.spec
    if not folder.name.startswith(f"{spec.experiment}-{spec.variant}-s{spec.seed}-"):  # copied: no run counts twice
        return f"its journal lies in the folder of another run, {folder.name}"
    finished = next((event for event in reversed(events) if isinstance(event, Finished)), None)
    if finished is None:  # it diverged
        return None
    epochs = [event.epoch for event in events if isinstance(event, EpochDone)]
    if epochs != list(range(1, started.spec.recipe.epochs + 1)):
        return f"its journal has {len(epochs)} of {started.spec.recipe.epochs} epochs"
    lost = [f"artifacts/{name}" for name in _lost(folder, finished.artifacts)]
    return f"{', '.join(lost)} {'is' if len(lost) == 1 else 'are'} missing or not whole" if lost else None


def _lost(folder: Path, artifacts: Mapping[str, tuple[int, str]]) -> list[str]:
    """The artifacts that are not there as they were written. One with the size and time of change that it had when it
    was delivered is not read again."""
    delivered = Receipt.read(folder).artifacts or {}

    def whole(name: str, size: int, sha: str) -> bool:
        path = folder / "artifacts" / name
        if not path.is_file() or path.stat().st_size != size:
            return False
        return delivered.get(name) == (*stamp(path), sha) or sha256(path) == sha

    return [name for name, (size, sha) in artifacts.items() if not whole(name, size, sha)]


def _bring_back(made: Made, tracker: Tracker) -> list[str]:
    """Put back what any run of this key in the store has whole; returns the names.

    Raises:
        TrackingError: the store does not answer.
    """
    tracker.store.require_answer()
    runs, back = tracker.listing(made.started.spec.experiment, made.folder.name), list[str]()
    for name in _lost(made.folder, made.artifacts):
        for run in runs:
            with suppress(TrackingError):
                found = tracker.artifact(run.id, name)
                if sha256(found) == made.artifacts[name][1]:
                    path = made.folder / "artifacts" / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    put(found, path, LINK_FROM_BYTES)
                    back.append(name)
                    break
    return back
