"""Runs, composed: an attempt that begins, the loop that trains, an attempt that ends; checkpoints and journal all the
way.

A run is a function of its `RunSpec` and the images alone: it seeds itself, pins its threads, reads no globals. Started
again after a crash or a signal it goes on from its last checkpoint and ends as if it had never stopped.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

from filelock import FileLock, Timeout

from harness.execution.attempt import Attempt
from harness.plans.spec import Design, RunSpec
from harness.records import checkpoint, journal
from harness.records.events import EpochDone, Fact, Finished
from harness.training import stacked
from harness.training.build import DeviceData
from harness.training.device import system_metrics
from harness.training.evaluate import Interrupted, ShouldStop
from harness.training.loop import NotFinite, StepDone, train
from harness.values import HarnessError

Event = tuple[RunSpec, StepDone | Fact]
"""A run, and what happened to it."""


def run_folder(root: Path, spec: RunSpec) -> Path:
    """Where a run keeps its journal, checkpoints and artifacts."""
    return root / "runs" / spec.experiment / spec.key


def ended(facts: list[Fact]) -> bool:
    """Whether a run is over for good: finished, or diverged (it would diverge again)."""
    return any(fact.kind in ("finished", "diverged") for fact in facts)


def run(
    spec: RunSpec,
    design: Design,
    data: DeviceData,
    root: Path,
    stop: ShouldStop,
    workers: int = 0,
    folder: Path | None = None,
) -> Iterator[StepDone | Fact]:
    """Train, evaluate and record one run; yields every step and every fact, each fact once it is in the journal.

    Args:
        stop: asked after every step, every batch of an evaluation and every figure; once true, a checkpoint is saved
            and `Interrupted` raised.
        workers: processes for augmentation when the library itself must do it.
        folder: where, if not in the run's own folder.

    Raises:
        Interrupted: see `stop`.
        HarnessError: another process is at this run, or its journal cannot be read.
    """
    with ExitStack() as held:
        folder = folder or run_folder(root, spec)
        _hold(folder, spec, held)
        if ended(journal.read(folder)):  # by another process, while this one waited
            return
        this = Attempt(spec, design, data, root, folder, stop, workers)
        if spec.recipe.step == "fused":
            yield from (event for _, event in _attempt_together([this], stop))
        else:
            yield from _attempt(this)


def run_together(
    specs: Sequence[RunSpec], design: Design, data: DeviceData, root: Path, stop: ShouldStop, workers: int = 0
) -> Iterator[Event]:
    """As `run`, for those of `plan.together`: one run, or several that train as one (`harness.training.stacked`).

    Every fact of every run is yielded, but a step only once, by the first run that trains. A run whose loss is not
    finite ends alone.
    """
    if specs[0].recipe.step != "fused":
        (alone,) = specs
        yield from ((alone, event) for event in run(alone, design, data, root, stop, workers))
        return
    with ExitStack() as held:
        attempts = []
        for spec in specs:
            folder = run_folder(root, spec)
            _hold(folder, spec, held)
            if not ended(journal.read(folder)):
                attempts.append(Attempt(spec, design, data, root, folder, stop, workers))
        for this, event in _attempt_together(attempts, stop) if attempts else ():
            yield this.spec, event


def _hold(folder: Path, spec: RunSpec, held: ExitStack) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        held.enter_context(FileLock(folder / "lock", timeout=1))  # a delivery looks for an instant whether it is held
    except Timeout as error:
        raise HarnessError(f"run {spec.key} is being made by another process; wait for it or stop it") from error


def _attempt(this: Attempt) -> Iterator[StepDone | Fact]:
    try:
        for event in _events(this):
            if not isinstance(event, StepDone):
                this.journal.append(event)
            yield event
            if isinstance(event, Finished):
                break
            if this.stop():
                raise Interrupted
            if this.checkpoint_due():
                this.save_checkpoint()
    except NotFinite as error:
        yield this.diverged(error)
    except Interrupted:
        this.save_checkpoint()
        raise
    except Exception as error:  # whatever a model, a transform or the machine raises is a fact of this run alone
        yield this.failed(error)
    else:
        checkpoint.remove(this.folder)


def _events(this: Attempt) -> Iterator[StepDone | Fact]:
    """The run from where it stands to its end."""
    yield from this.begin()
    this.load_checkpoint()
    recipe, labels = this.recipe, this.data.train.labels
    source, normaliser = this.parts.source, this.parts.normaliser
    for event in train(this.state, source, labels, recipe, this.spec.seed, normaliser, this.evaluate):
        yield _with_system(event, recipe.device) if isinstance(event, EpochDone) else event
    yield this.finish()


def _attempt_together(attempts: list[Attempt], stop: ShouldStop) -> Iterator[tuple[Attempt, StepDone | Fact]]:
    """As `_attempt`, for all of them; `alive` are those that have not ended yet."""
    alive = attempts.copy()
    for this in attempts:
        this.at_once = len(attempts)
    try:
        for this, event in _events_together(attempts, alive):
            if isinstance(event, NotFinite):
                alive.remove(this)
                event = this.diverged(event)
            elif not isinstance(event, StepDone):
                this.journal.append(event)
            yield this, event
            if isinstance(event, Finished):
                alive.remove(this)
                checkpoint.remove(this.folder)
            if stop():
                raise Interrupted
            if isinstance(event, StepDone) and this.checkpoint_due():
                for one in alive:
                    one.save_checkpoint()
    except Interrupted:
        for this in alive:
            this.save_checkpoint()
        raise
    except Exception as error:
        for this in alive.copy():
            yield this, this.failed(error)


def _events_together(
    attempts: list[Attempt], alive: list[Attempt]
) -> Iterator[tuple[Attempt, StepDone | Fact | NotFinite]]:
    """A step is told by the first run that is alive."""
    for this in attempts:
        for fact in this.begin():
            yield this, fact
        this.load_checkpoint()
    least = min(this.state.step for this in attempts)
    for this in attempts:
        if this.state.step > least:  # the process died while it saved one after the other
            this.load_checkpoint(at_most=least)
    for _, group in groupby(sorted(attempts, key=lambda this: this.state.step), key=lambda this: this.state.step):
        members = list(group)
        recipe, data, normaliser = members[0].recipe, members[0].data, members[0].parts.normaliser
        stack = stacked.Stack([this.state for this in members], recipe)
        sources, seeds = [this.parts.source for this in members], [this.spec.seed for this in members]
        evaluates = [this.evaluate for this in members]
        for number, event in stacked.train(stack, sources, data.train.labels, seeds, normaliser, evaluates):
            yield members[number], _with_system(event, recipe.device) if isinstance(event, EpochDone) else event
        for this in members:
            if this in alive:
                yield this, this.finish()


def _with_system(event: EpochDone, device: str) -> EpochDone:
    return event.model_copy(update={"system": system_metrics(device)})
