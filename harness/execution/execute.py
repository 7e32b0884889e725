"""Many runs, one after the other: checked before the first begins, shown as they go, recorded as they end.

A run that has ended is not made again. Ctrl-C or SIGTERM saves a checkpoint at the next step; the same command goes on.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tqdm import tqdm

import models
from harness.augmentation import source
from harness.data.load import Dataset, load
from harness.execution.attempt import changed_since, sweep
from harness.execution.run import ended, run_folder, run_together
from harness.plans.plan import Plan, steps_per_epoch, together
from harness.plans.spec import Data, Recipe, RunSpec
from harness.records import checkpoint, journal
from harness.records.events import Diverged, EpochDone, Fact, Failed, Finished, LRFound, Started
from harness.tracking.sync import Courier
from harness.tracking.tracker import PlannedRun, Summary, Tracker
from harness.training.build import DeviceData, device_data, model_options
from harness.training.device import detect, environment
from harness.training.evaluate import Interrupted
from harness.training.loop import StepDone
from harness.training.optimizers import check_schedule
from harness.values import HarnessError, SpecError


@dataclass
class Stop:
    """Set by the first SIGINT or SIGTERM; a second one ends the process at once."""

    signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take over both signals for the duration."""

        def note(number: int, frame: FrameType | None) -> None:
            if self.signal is not None:
                os._exit(128 + number)
            self.signal = number
            tqdm.write("stopping at the next step; once more ends it at once", file=sys.stderr)

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass
class Outcome:
    """How an execution ended."""

    failed: list[str] = field(default_factory=list)
    """Keys of the runs without a result: that failed, diverged or could not begin, and are not made elsewhere since."""
    signal: int | None = None
    """The signal that stopped it."""
    undelivered: int = 0
    """Folders of runs/ that hold something which MLflow does not have."""
    asked_otherwise: bool = False
    """Another command has asked something else of the experiment meanwhile, and reports are of that."""


def check(plan: Plan, root: Path) -> dict[Data, Dataset]:
    """Everything that can be found wrong before the first run begins; returns the data sets, loaded.

    Raises:
        HarnessError: a device, model, option, transform, data set, batch size or schedule that cannot be used.
    """
    datasets: dict[Data, Dataset] = {}
    for recipe in {spec.variant: spec.recipe for spec in plan.runs}.values():
        detect(recipe.device)
        _check_model(recipe.model.name, recipe.model.options)
        if recipe.data not in datasets:
            datasets[recipe.data] = load(recipe.data, root)
        dataset = datasets[recipe.data]
        _check_model(recipe.model.name, model_options(recipe, dataset))
        source.check(recipe.augmentation, dataset.height, dataset.width, dataset.channels)
        images = len(dataset.train.labels)
        if recipe.batch_size > images:
            raise SpecError(
                f"`batch_size` must be 1..{images}, the training images of {dataset.label!r}; got {recipe.batch_size}"
            )
        check_schedule(recipe.schedule, recipe.epochs * steps_per_epoch(images, recipe.batch_size))
    return datasets


def _check_model(name: str, options: Mapping[str, object]) -> None:
    try:
        models.check(name, options)
    except models.ModelError as error:
        raise SpecError(str(error)) from error


def execute(plan: Plan, datasets: dict[Data, Dataset], tracker: Tracker, root: Path, workers: int) -> Outcome:
    """Make every run of the plan that has not ended yet, and record all of them; a store that fails stops none."""
    planned = tuple(PlannedRun(key=spec.key, variant=spec.variant, seed=spec.seed) for spec in plan.runs)
    outcome, stop, show = Outcome(), Stop(), Progress(plan)
    courier = Courier(tracker, root, show.say)
    summary = Summary(design=plan.design, runs=planned, asked=time.time())
    courier.begin(summary)
    on_device, tried = _on_device(datasets), list[RunSpec]()

    def make(specs: list[RunSpec]) -> None:
        data = on_device(specs[0].recipe)
        show.start(specs)
        for spec, event in run_together(specs, plan.design, data, root, stop, workers):
            show.event(spec, event)
            if not isinstance(event, StepDone):
                courier.tell(run_folder(root, spec))

    with stop.listening():
        for specs in together(plan):
            if stop():
                break
            missing = []
            for spec in specs:
                folder = run_folder(root, spec)
                if ended(facts := journal.read(folder)):
                    checkpoint.remove(folder)  # it may have been killed just before it did so itself
                    show.skip(spec, _since(facts, datasets[spec.recipe.data], root))
                else:
                    missing.append(spec)
            try:
                if missing:
                    make(missing)
            except Interrupted:
                for spec in missing:
                    courier.tell(run_folder(root, spec), now=True)
                break
            except HarnessError as error:  # a run could not begin
                show.leave(str(error))
            tried += specs
    show.close()
    outcome.signal = stop.signal
    if stop.signal is None:
        outcome.undelivered = len(courier.finish(run_folder(root, spec) for spec in plan.runs))
        outcome.asked_otherwise = not courier.is_latest(summary)
    ends = {spec.key: journal.read(run_folder(root, spec))[-1:] for spec in tried}
    outcome.failed = [key for key, last in ends.items() if not (last and isinstance(last[0], Finished))]
    return outcome


def _since(facts: list[Fact], dataset: Dataset, root: Path) -> str:
    """What is otherwise now than when an ended run began, in words: it stays made, but whoever asks must know."""
    began = next(fact for fact in facts if isinstance(fact, Started))
    changed = changed_since(began, dataset.checksum, environment(root, began.spec.recipe.device))
    folder = run_folder(root, began.spec).relative_to(root)
    return f"; changed since then: {changed}; to make it again, remove {folder}" if changed else ""


def _on_device(datasets: Mapping[Data, Dataset]) -> Callable[[Recipe], DeviceData]:
    """A recipe → its images on its device, brought there once."""
    there: dict[tuple[Data, str], DeviceData] = {}

    def bring(recipe: Recipe) -> DeviceData:
        where = (recipe.data, recipe.device)
        if where not in there:
            there[where] = device_data(datasets[recipe.data], recipe.device)
        return there[where]

    return bring


def find_lrs(plan: Plan, datasets: dict[Data, Dataset], workers: int) -> Iterator[str]:
    """Each run's LR range test alone, nothing recorded: one line a run, with its suggestion."""
    on_device = _on_device(datasets)
    for spec in plan.runs:
        if spec.recipe.lr_finder is None:
            yield f"{spec.variant} seed {spec.seed}: optimizer.lr is given, {spec.recipe.optimizer.lr}"
            continue
        found = sweep(spec, on_device(spec.recipe), workers)
        lowest = min(found.losses)
        yield (
            f"{spec.variant} seed {spec.seed}: suggests {found.suggestion:.3g}; {len(found.lrs)} iterations from "
            f"{found.lrs[0]:.3g} to {found.lrs[-1]:.3g}, loss {found.losses[0]:.3f}, lowest {lowest:.3f} at "
            f"{found.lrs[found.losses.index(lowest)]:.3g} ({found.seconds:.1f} s)"
        )


class Progress:
    """A bar with the time left on a terminal; a line an epoch everywhere."""

    def __init__(self, plan: Plan):
        self.runs, self.begun = len(plan.runs), 0
        self.shares: dict[str, float] = {}
        """Run → how much of it is made, of those that train now."""
        self.ended = self.not_made_here = 0.0
        """Runs that are over; and those, or the shares of a resumed one, that this command did not make."""
        self.began = time.monotonic()
        self.bar: tqdm | None = None
        self.title = ""

    def skip(self, spec: RunSpec, since: str = "") -> None:
        """It was made before; `since` tells what has changed."""
        self.begun += 1
        self.ended += 1
        self.not_made_here += 1
        self.say(f"[{self.begun}/{self.runs}] {spec.variant} seed {spec.seed}: already made{since}")

    def start(self, specs: Sequence[RunSpec]) -> None:
        """One run, or several that train as one."""
        self.close()
        self.ended += len(self.shares)
        self.shares = {spec.key: 0.0 for spec in specs}
        first, self.begun = self.begun + 1, self.begun + len(specs)
        numbers = f"{first}" if len(specs) == 1 else f"{first}–{self.begun}"
        self.title = f"[{numbers}/{self.runs}] {specs[0].variant}"

    def leave(self, reason: str) -> None:
        """Those that were to start are not made here."""
        self.not_made_here += len(self.shares)
        self.say(reason)

    def event(self, spec: RunSpec, event: StepDone | Fact) -> None:
        line = f"{self.title} seed {spec.seed}"
        match event:
            case StepDone():
                if self.bar is None:
                    self.not_made_here += len(self.shares) * (event.step - 1) / event.total
                self._advance(event.step, event.total)
            case EpochDone():
                self._epoch(line, spec, event)
            case LRFound():
                self.say(f"{line}: LR range test suggests {event.suggestion:.3g} ({event.seconds:.1f} s)")
            case Diverged():
                self.say(f"{line}: diverged, the loss is not finite at step {event.step} ({event.where})")
            case Failed():
                self.say(f"{line}: failed, {event.error}")
            case _:
                pass

    def _advance(self, step: int, total: int) -> None:
        if self.bar is None:
            self.bar = tqdm(total=total, initial=step, desc=self.title, unit="step", leave=False, disable=None)
        self.bar.update(step - self.bar.n)

    def _epoch(self, line: str, spec: RunSpec, done: EpochDone) -> None:
        epochs = spec.recipe.epochs
        self._advance(done.step, done.step * epochs // done.epoch)
        self.shares[spec.key] = done.epoch / epochs
        made = self.ended + sum(self.shares.values())
        each = (time.monotonic() - self.began) / max(made - self.not_made_here, 1 / epochs)  # seconds
        left = each * (self.runs - made)
        seconds = done.train_seconds + done.evaluate_seconds
        self.say(
            f"{line}  epoch {done.epoch:>2}/{epochs}  train {done.train.loss:.4f} {done.train.accuracy:.2%}  "
            f"test {done.test.loss:.4f} {done.test.accuracy:.2%}  {seconds:.1f} s  "
            f"{done.images_per_second:.0f} images/s  left about {tqdm.format_interval(left)}"
        )

    def say(self, line: str) -> None:
        tqdm.write(line)
        sys.stdout.flush()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
