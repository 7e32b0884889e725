"""Many runs, one after the other: shown as they go, recorded as they end; none harmed by another or by the store.

A run that has ended is not made again. A signal saves a checkpoint at the next step; the same command goes on. A run
that another process is making is waited for.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.data.load import Dataset
from harness.evidence.signs import fewest_pairs
from harness.execution.attempt import changed_since, environment, in_words, sweep
from harness.execution.made import Made, find_made, made_before, repair
from harness.execution.progress import Progress
from harness.execution.run import ended, run, run_folder
from harness.execution.stopping import Stop
from harness.plans.plan import Plan, together, within
from harness.plans.spec import Circumstances, Data, RunSpec
from harness.records import checkpoint, journal, looks
from harness.records.blocks import confounded
from harness.records.events import Finished, LRFound
from harness.records.holding import is_held
from harness.tracking.sync import Courier
from harness.tracking.tracker import PlannedRun, Summary, Tracker
from harness.training.build import DeviceData, device_data
from harness.training.evaluate import Interrupted
from harness.training.loop import StepDone
from harness.values import HarnessError, SpecError

_POLL_SECONDS = 2.0
"""Between looks at a run that another process is making."""


@dataclass
class Outcome:
    """How an execution ended."""

    failed: list[str] = field(default_factory=list)
    """Keys of the runs without a result: that failed, diverged or could not begin, and are not made elsewhere since."""
    signal: int | None = None
    """The signal that stopped it."""
    undelivered: int = 0
    """Folders of runs/ that hold something which MLflow does not have."""
    superseded: bool = False
    """A concurrent command has replaced this plan, and reports are of that one."""


class _Execution:
    """The runs of one plan: where each lies, and what is known of it."""

    def __init__(
        self,
        plan: Plan,
        datasets: Mapping[Data, Dataset],
        tracker: Tracker,
        root: Path,
        workers: int,
        found: Mapping[str, LRFound],
    ):
        self.plan, self.datasets, self.root, self.workers, self.found = plan, datasets, root, workers, found
        self.stop, self.show = Stop(), Progress(plan)
        self.made: dict[str, Made] = {}
        self.unreadable: dict[str, str] = {}
        """Run key → why its journal cannot be read."""
        self._there: dict[Data, DeviceData] = {}
        for spec in plan.runs:
            try:
                made = find_made(root, spec)
            except HarnessError as error:
                self.unreadable[spec.key] = str(error)
                continue
            if made and made.problem:
                made = repair(made, tracker, self.show.say)
            if made:
                self.made[spec.key] = made
        self.before = made_before(root, plan.declared, plan.runs, self.show.say, tracker)
        """Runs of the same experiment that are not asked for now, and stand in its report all the same."""

    def folder(self, spec: RunSpec) -> Path:
        return self.made[spec.key].folder if spec.key in self.made else run_folder(self.root, spec)

    def device_data(self, data: Data) -> DeviceData:
        """A data set on the runs' device, brought there once."""
        if data not in self._there:
            self._there[data] = device_data(self.datasets[data], self.plan.circumstances.device)
        return self._there[data]

    def changed(self, made: Made) -> dict[str, tuple[object, object]]:
        """What is otherwise now than when a made run began; the images are not, for its key is of them."""
        began, around = made.started, self.plan.circumstances
        return changed_since(began, began.data.checksum, around, environment(self.root, began.spec.recipe, around))

    def skip(self, spec: RunSpec) -> None:
        """Say that a run is made already, and what has changed since."""
        folder = self.folder(spec)
        checkpoint.remove(folder)  # it may have been killed just before it did so itself
        changed = in_words(self.changed(self.made[spec.key]))
        again = f"; changed since then: {changed}; to make it again, remove {folder.relative_to(self.root)}"
        self.show.skip(spec, again if changed else "")

    def ended(self, spec: RunSpec) -> bool:
        return ended(journal.read(self.folder(spec)))


def execute(
    plan: Plan,
    datasets: Mapping[Data, Dataset],
    tracker: Tracker,
    root: Path,
    workers: int,
    allowed: Sequence[str] = (),
    found: Mapping[str, LRFound] | None = None,
) -> Outcome:
    """Make every run of the plan that has not ended yet, and record all of them; a store that fails stops none.

    Args:
        allowed: dotted fields in which runs may differ although it could change results.
        found: run key → the LR range test that it made for all runs.

    Raises:
        SpecError: runs that are made already could not be compared with those that are missing.
    """
    this, outcome = _Execution(plan, datasets, tracker, root, workers, found or {}), Outcome()
    _refuse_incomparable(this, allowed)
    _warn_if_nothing_can_be_shown(this)
    courier, summary = Courier(tracker, root, this.show.say), _summary(this)
    courier.begin(summary)
    tried = list[RunSpec]()
    with this.stop.listening():
        for specs in _groups(this):
            if this.stop():
                break
            if not _make(this, courier, specs):
                break
            tried += [spec for spec in specs if spec not in tried]
    this.show.close()
    outcome.signal = this.stop.signal
    if outcome.signal is None:
        outcome.undelivered = len(courier.finish(this.folder(spec) for spec in plan.runs))
        outcome.superseded = not courier.is_latest(summary)
    outcome.failed = [this.folder(spec).name for spec in tried if not _finished(this, spec)]
    return outcome


def _summary(this: _Execution) -> Summary:
    """What is asked, and what was made before of the same experiment, recipes and images."""
    asked = [(this.folder(spec), spec) for spec in this.plan.runs]
    runs = [*asked, *((made.folder, made.started.spec) for made in this.before)]
    seeds = tuple(dict.fromkeys([*this.plan.design.seeds, *(spec.seed for _, spec in runs)]))
    return Summary(
        design=this.plan.design.model_copy(update={"seeds": seeds}),
        runs=tuple(PlannedRun(key=folder.name, variant=spec.variant, seed=spec.seed) for folder, spec in runs),
        looks=looks.read(this.root / "runs" / this.plan.design.experiment),
        tuned=this.plan.tuned,
    )


def _warn_if_nothing_can_be_shown(this: _Execution) -> None:
    """Before hours are spent: n pairs of seeds give no p below 2^(1-n)."""
    variants, seeds = len(this.plan.design.variants), len(this.plan.design.seeds)
    if variants > 1 and seeds < fewest_pairs() and not this.plan.design.trials_of:
        made = "1 seed" if seeds == 1 else f"{seeds} seeds"
        this.show.say(f"note: {made} cannot show any difference between {variants} variants; {fewest_pairs()} can")


def _groups(this: _Execution) -> Iterator[list[RunSpec]]:
    """The plan's runs to be made together; at the end, those that another process had begun before."""
    later = list[RunSpec]()
    for specs in together(this.plan):
        yield specs
        later += [spec for spec in specs if is_held(this.folder(spec))]
    for spec in later:
        this.show.say(f"{spec.variant} seed {spec.seed}: another process is making it; waiting for that")
        while is_held(this.folder(spec)) and not this.stop():
            time.sleep(_POLL_SECONDS)
        if not this.ended(spec):  # that process was stopped: the run goes on here
            yield [spec]


def _make(this: _Execution, courier: Courier, specs: Sequence[RunSpec]) -> bool:
    """Make those of these runs that have not ended; False if asked to stop."""
    missing = []
    for spec in specs:
        if spec.key in this.made:
            this.skip(spec)
        elif spec.key in this.unreadable:
            this.show.start([spec])
            this.show.leave(this.unreadable[spec.key])
        else:
            missing.append(spec)
    if not missing:
        return True
    this.show.start(missing)
    data = this.device_data(missing[0].recipe.data)
    around, design = this.plan.circumstances, this.plan.design
    begun = run(missing, around, design, data, this.root, this.stop, this.workers, found=this.found)
    try:
        for spec, event in begun:
            this.show.event(spec, event)
            if not isinstance(event, StepDone):
                courier.tell(this.folder(spec))
    except Interrupted:
        for spec in missing:
            courier.tell(this.folder(spec), now=True)
        return False
    except HarnessError as error:  # a journal that cannot be read
        this.show.leave(str(error))
    return True


def _finished(this: _Execution, spec: RunSpec) -> bool:
    if spec.key in this.unreadable:
        return False
    last = journal.read(this.folder(spec))[-1:]
    return bool(last) and isinstance(last[0], Finished)


def _refuse_incomparable(this: _Execution, allowed: Sequence[str]) -> None:
    missing = [spec for spec in this.plan.runs if spec.key not in this.made]
    made = [*this.made.values(), *this.before] if missing else []
    names = [{_recorded_as(name): pair for name, pair in this.changed(each).items()} for each in made]
    specs = [each.started.spec for each in made]
    mixed = confounded(list(zip(specs, names, strict=True)), missing)
    for each, pairs in zip(made, names, strict=True):
        changed = {name: pair for name, pair in pairs.items() if name in mixed and not within(name, allowed)}
        if changed:
            raise SpecError(
                f"{len(made)} runs of {this.plan.design.experiment} are made already, and a report would refuse to "
                f"compare them with new ones ({in_words(changed)}): put that back, remove "
                f"{each.folder.parent.relative_to(this.root)} to make all anew, or go on all the same with "
                f'ALLOW="{" ".join(changed)}"'
            )


def _recorded_as(name: str) -> str:
    """The name under which a report's guard knows a field of `changed_since`."""
    if name in Circumstances.model_fields:
        return f"circumstances.{name}"
    if name == "data":
        return "data.checksum"
    known = ("code", "model_code", "python", "system", "processor", "device", "cuda")
    return f"environment.{name}" if name in known else f"environment.versions.{name}"


def find_lrs(plan: Plan, datasets: Mapping[Data, Dataset], workers: int) -> Iterator[str]:
    """Each run's LR range test alone, nothing recorded: one line a run, with its suggestion."""
    there: dict[Data, DeviceData] = {}
    for spec in plan.runs:
        if spec.recipe.lr_finder is None:
            yield f"{spec.variant} seed {spec.seed}: optimizer.lr is given, {spec.recipe.optimizer.lr}"
            continue
        data = spec.recipe.data
        there.setdefault(data, device_data(datasets[data], plan.circumstances.device))
        found = sweep(spec, plan.circumstances, there[data], workers)
        lowest = min(found.losses)
        yield (
            f"{spec.variant} seed {spec.seed}: suggests {found.suggestion:.3g}; {len(found.lrs)} iterations from "
            f"{found.lrs[0]:.3g} to {found.lrs[-1]:.3g}, loss {found.losses[0]:.3f}, lowest {lowest:.3f} at "
            f"{found.lrs[found.losses.index(lowest)]:.3g} ({found.seconds:.1f} s)"
        )
