"""Make a run, or several stacked runs: begin the attempts, train with the loop, keep journal and checkpoints, finish.

A run is a function of its `RunSpec`, its circumstances and the images: it sets its own seeds and thread count and reads
no global state. Restarted after a crash or a signal, it resumes from its last checkpoint and gives the same result as
an uninterrupted run.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

from harness.execution.attempt import Attempt, begin
from harness.execution.job import Job
from harness.plans.experiment import Design
from harness.plans.spec import Circumstances, RunSpec
from harness.records import checkpoint
from harness.records.events import EpochDone, Event, Finished, LRFound
from harness.records.holding import Held, hold
from harness.records.journal import Journal
from harness.training.build import DeviceData, build_learner
from harness.training.device import system_metrics
from harness.training.evaluate import Interrupted, ShouldStop
from harness.training.loop import NotFinite, StepDone, train
from harness.values import HarnessError

CHECKPOINT_SECONDS = 60.0


def run_folder(root: Path, spec: RunSpec) -> Path:
    """The folder of a run's journal, checkpoints and artifacts."""
    return root / "runs" / spec.experiment / spec.key


def ended(events: Sequence[Event]) -> bool:
    """True if a run is finished or has diverged (it would diverge again)."""
    return any(event.kind in ("finished", "diverged") for event in events)


def run(
    specs: Sequence[RunSpec],
    circumstances: Circumstances,
    design: Design,
    data: DeviceData,
    root: Path,
    stop: ShouldStop,
    workers: int = 0,
    folder: Path | None = None,
    found: Mapping[str, LRFound] | None = None,
    allowed: Sequence[str] = (),
) -> Iterator[tuple[RunSpec, StepDone | Event]]:
    """Train, evaluate and record one run, or several runs of one recipe stacked together (see `plan.together`).

    A run whose loss is not finite ends without affecting the others. Runs that have ended, or that another process is
    making, are left out.

    Args:
        specs: the runs, all with the same recipe.
        stop: polled after every step, every batch of an evaluation and every figure; once it returns True, a checkpoint
            is saved and `Interrupted` raised.
        workers: worker processes for augmentation, used only if albumentations itself applies the transforms.
        folder: where to record a single run instead of its own folder.
        found: run key → the shared LR range test, for the run that made it.
        allowed: dotted fields that may have changed since a run's checkpoint, such as "environment.processor".

    Yields:
        Every step, and every event once it is in the run's journal, with the run that it belongs to. Steps of a stack
        are attributed to the first run that still trains.

    Raises:
        Interrupted: `stop` returned True, or another machine has taken a run over.
        HarnessError: a journal cannot be read; raised after the other runs were made.
    """
    sweeps, problems, todo, holds = found or {}, list[str](), list[tuple[RunSpec, Path, Journal]](), list[Held]()
    with ExitStack() as stack:
        for spec in specs:
            place = folder or run_folder(root, spec)
            if (held := stack.enter_context(hold(place))) is None:
                continue
            holds.append(held)
            try:
                kept = Journal(place)
            except HarnessError as error:
                problems.append(str(error))
                continue
            if not ended(kept.events):
                todo.append((spec, place, kept))

        def ends() -> bool:
            return stop() or any(held.lost for held in holds)

        jobs = [
            Job(
                *(spec, circumstances, design, data, root, place, kept, ends, workers, len(todo)),
                found=sweeps.get(spec.key),
                allowed=allowed,
            )
            for spec, place, kept in todo
        ]
        if jobs:
            yield from _make(jobs)
    if problems:
        raise HarnessError("; ".join(problems))


def _make(jobs: list[Job]) -> Iterator[tuple[RunSpec, StepDone | Event]]:
    alive, attempts, saved_at = jobs.copy(), list[Attempt](), time.monotonic()

    def save() -> None:
        for attempt in attempts:
            if attempt.job in alive:
                attempt.save_checkpoint()

    try:
        for job, event in _events(jobs, attempts, alive):
            if isinstance(event, NotFinite):
                alive.remove(job)
                event = job.diverged(event)
            elif not isinstance(event, StepDone):
                job.journal.append(event)
            yield job.spec, event
            if isinstance(event, Finished):
                alive.remove(job)
                checkpoint.remove(job.folder)
            if jobs[0].stop() and alive:
                raise Interrupted
            if isinstance(event, StepDone | EpochDone) and time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                save()
                saved_at = time.monotonic()
    except Interrupted:
        save()
        raise
    except Exception as error:  # any error of a model or transform is recorded as an event of these runs
        for job in alive.copy():
            yield job.spec, job.failed(error)


def _events(
    jobs: list[Job], attempts: list[Attempt], alive: list[Job]
) -> Iterator[tuple[Job, StepDone | Event | NotFinite]]:
    """Begin, train and finish the jobs, yielding their events; attempts that have begun are added to `attempts`."""
    for job in jobs:
        try:
            attempts.append((yield from begin(job)))
        except NotFinite as error:  # raised by its LR range test
            yield job, error
        except HarnessError as error:  # its checkpoint cannot be resumed; the rest of the stack continues
            alive.remove(job)
            yield job, job.failed(error)
    least = min((attempt.state.step for attempt in attempts), default=0)
    for attempt in attempts:
        if attempt.state.step > least:  # the process died while saving the stack's checkpoints one by one
            attempt.load_checkpoint(at_most=least)
    for _, group in groupby(sorted(attempts, key=_step), key=_step):
        members = list(group)
        for number, event in _train(members):
            yield members[number].job, event
        for attempt in members:
            if attempt.job in alive:
                yield attempt.job, attempt.finish()


def _step(attempt: Attempt) -> int:
    return attempt.state.step


def _train(members: list[Attempt]) -> Iterator[tuple[int, StepDone | EpochDone | NotFinite]]:
    job, parts = members[0].job, members[0].parts
    recipe, device = job.spec.recipe, job.circumstances.device
    states = [attempt.state for attempt in members]
    learner = build_learner(states, recipe, job.circumstances, parts.normaliser.autocast)
    sources, seeds = [attempt.parts.source for attempt in members], [attempt.job.spec.seed for attempt in members]
    evaluates = [attempt.evaluate for attempt in members]
    for number, event in train(learner, sources, job.data.train.labels, seeds, recipe, parts.normaliser, evaluates):
        if isinstance(event, EpochDone):
            event = event.model_copy(update={"system": system_metrics(device)})
        yield number, event
