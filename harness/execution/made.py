"""Runs that are made already: found by what was asked of them, and only if all that they should have left is there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import models
from harness.execution.run import ended, run_folder
from harness.plans.spec import Model, RunSpec
from harness.records import journal
from harness.records.events import EpochDone, Event, Finished, Started
from harness.values import HarnessError


@dataclass(frozen=True)
class Made:
    """A run that has ended, where it lies, and what is wrong with it, if anything."""

    folder: Path
    events: Sequence[Event]
    problem: str | None

    @property
    def started(self) -> Started:
        return next(event for event in self.events if isinstance(event, Started))


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
            return Made(folder, events, _incomplete(folder, events, started))
    return None


def made_before(
    root: Path, declared: Sequence[RunSpec], asked: Sequence[RunSpec], say: Callable[[str], None]
) -> list[Made]:
    """Whole runs of declared variants that are not asked for now: a report of an experiment never shrinks.

    Args:
        say: is told of a journal that cannot be read.
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
            if made and not made.problem:
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


def _incomplete(folder: Path, events: Sequence[Event], started: Started) -> str | None:
    finished = next((event for event in reversed(events) if isinstance(event, Finished)), None)
    if finished is None:  # it diverged
        return None
    epochs = [event.epoch for event in events if isinstance(event, EpochDone)]
    if epochs != list(range(1, started.spec.recipe.epochs + 1)):
        return f"its journal has {len(epochs)} of {started.spec.recipe.epochs} epochs"
    for name, (size, _) in finished.artifacts.items():
        path = folder / "artifacts" / name
        if not path.is_file() or path.stat().st_size != size:
            return f"artifacts/{name} is missing or not whole"
    return None
