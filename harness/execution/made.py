"""Find runs that were made before, by their identity, and check that their artifacts are complete."""

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
    """A run that has ended, its folder, and a description of what is wrong with it, if anything."""

    folder: Path
    events: Sequence[Event]
    problem: str | None

    @property
    def started(self) -> Started:
        return next(event for event in self.events if isinstance(event, Started))

    @property
    def artifacts(self) -> Mapping[str, tuple[int, str]]:
        """The artifacts that the run recorded: name → (size in bytes, SHA-256)."""
        finished = next((event for event in reversed(self.events) if isinstance(event, Finished)), None)
        return finished.artifacts if finished else {}


def find_made(root: Path, spec: RunSpec) -> Made | None:
    """Find the ended run that `spec` asks for, under its key or under an older one.

    Keys change when a field or model option is added to recipes, so older runs are found by their recorded recipe.

    Raises:
        HarnessError: the journal is not a regular file.
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
    """Restore a finished run's missing artifacts from the tracking store, verified by their recorded SHA-256.

    The run's folder is locked meanwhile; if another process has locked it, the run is left to that process.

    Args:
        tracker: the store to restore from; None restores nothing.
        say: receives a line about what was restored, or why not.
        make_again: if the run stays incomplete, set its journal aside so that the run is made again.

    Returns:
        The repaired run, or None if it could not be repaired.
    """
    name = f"{made.started.spec.variant} seed {made.started.spec.seed}"
    with hold(made.folder) as held:
        if held is None:
            return None
        events = journal.read(made.folder)
        now = Made(made.folder, events, _incomplete(made.folder, events)) if ended(events) else None
        if now is None or not now.problem:  # another process has repaired it or made it again
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
    """Complete runs of declared variants that are not part of this request; reports show them too.

    Args:
        say: receives a line for each unreadable journal and each run that is left out.
        tracker: the store to restore missing artifacts from.
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
    """True if both identify the same run; an option that the record lacks was added later and counts as its default."""
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
    if not folder.name.startswith(f"{spec.experiment}-{spec.variant}-s{spec.seed}-"):  # a copied folder
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
    """Names of artifacts that are missing or changed. A file whose size and modification time are the same as when it
    was delivered is not read again."""
    delivered = Receipt.read(folder).artifacts or {}

    def whole(name: str, size: int, sha: str) -> bool:
        path = folder / "artifacts" / name
        if not path.is_file() or path.stat().st_size != size:
            return False
        return delivered.get(name) == (*stamp(path), sha) or sha256(path) == sha

    return [name for name, (size, sha) in artifacts.items() if not whole(name, size, sha)]


def _bring_back(made: Made, tracker: Tracker) -> list[str]:
    """Restore missing artifacts from any run with this key in the store; returns their names.

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
