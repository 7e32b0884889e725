"""Make all missing runs of a plan and record them; a run that fails, or a failing store, does not affect other runs.

Runs that have ended are not made again. After a signal, a checkpoint is saved at the next step, and the same command
resumes from it. Runs that another process is making are waited for.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from harness.data.load import Dataset
from harness.evidence.signs import fewest_pairs
from harness.execution.attempt import sweep
from harness.execution.engines.engine import Engine
from harness.execution.engines.here import Here
from harness.execution.engines.task import Local
from harness.execution.engines.where import Where, start
from harness.execution.following import lifeline
from harness.execution.grid import Grid
from harness.execution.outset import Outset
from harness.execution.progress import Board, Progress, Show
from harness.execution.stopping import Stop
from harness.plans.plan import Plan, together
from harness.plans.spec import Data, RunSpec
from harness.records import looks
from harness.records.events import Event, LRFound
from harness.tracking.sync import Courier
from harness.tracking.tracker import PlannedRun, Summary, Tracker
from harness.training.build import DeviceData, device_data
from harness.training.loop import StepDone


@dataclass
class Outcome:
    """How the execution of a plan ended."""

    failed: list[str] = field(default_factory=list)
    """Keys of the runs that have no result: they failed, diverged or could not begin."""
    signal: int | None = None
    """The signal that stopped the execution."""
    undelivered: int = 0
    """Number of folders in runs/ with content that has not been delivered to MLflow."""
    superseded: bool = False
    """A concurrent command replaced this plan, so reports show that command's plan."""


def execute(
    plan: Plan,
    datasets: Mapping[Data, Dataset],
    tracker: Tracker,
    root: Path,
    workers: int,
    allowed: Sequence[str] = (),
    found: Mapping[str, LRFound] | None = None,
    where: Where | None = None,
) -> Outcome:
    """Make every run of the plan that has not ended yet, and record all of them; a failing store stops no run.

    Args:
        datasets: the loaded data sets of all recipes.
        root: the project's folder.
        workers: worker processes for augmentation.
        allowed: dotted fields in which runs may differ although it could change results.
        found: run key → the shared LR range test, for the run that made it.
        where: where runs are made (Ray, Slurm); None makes them in this process, or in `circumstances.jobs` processes.

    Raises:
        SpecError: existing runs could not be compared with the missing ones.
        HarnessError: the engine is not available or cannot make any run.
    """
    here = plan.circumstances.jobs == 1
    show, stop, outcome = Progress(plan) if here else Board(plan), Stop(), Outcome()
    outset = Outset(plan, datasets, root, show.say, tracker)
    outset.refuse_incomparable(allowed)
    _warn_if_nothing_can_be_shown(outset, show)
    courier, summary = Courier(tracker, root, show.say), _summary(outset)
    with ExitStack() as stack:
        grid = Grid(outset, courier, show, stop)
        engine: Engine = (
            Here(_local(grid, outset, courier, show, stop))
            if here
            else start(where or Where(), plan.circumstances, root)
        )
        stack.callback(show.close)
        stack.callback(engine.close)
        courier.begin(summary)
        if not here:
            grid.alive = stack.enter_context(lifeline(root / "runs" / plan.design.experiment))
        stack.enter_context(stop.listening())
        grid.make(together(plan), engine, workers, found or {}, allowed)
    outcome.signal = stop.signal
    if outcome.signal is None:
        outcome.undelivered = len(courier.finish(outset.folder(spec) for spec in plan.runs))
        outcome.superseded = not courier.is_latest(summary)
    outcome.failed = [outset.folder(spec).name for spec in grid.tried.values() if not outset.finished(spec)]
    return outcome


def _local(grid: Grid, outset: Outset, courier: Courier, show: Show, stop: Stop) -> Local:
    """What runs made in this process share with it: loaded images, the stop signal, and the display of every step."""

    def tell(spec: RunSpec, event: StepDone | Event) -> None:
        if isinstance(event, StepDone):
            show.event(spec, event)
        elif not grid.follow(spec):
            courier.tell(outset.folder(spec))  # a resumed run has nothing new in its journal yet

    return Local(outset.device_data, stop, tell)


def _summary(outset: Outset) -> Summary:
    """The plan's design and runs, together with earlier runs of the same experiment, recipes and images."""
    asked = [(outset.folder(spec), spec) for spec in outset.plan.runs]
    runs = [*asked, *((made.folder, made.started.spec) for made in outset.before)]
    seeds = tuple(dict.fromkeys([*outset.plan.design.seeds, *(spec.seed for _, spec in runs)]))
    return Summary(
        design=outset.plan.design.model_copy(update={"seeds": seeds}),
        runs=tuple(PlannedRun(key=folder.name, variant=spec.variant, seed=spec.seed) for folder, spec in runs),
        looks=looks.read(outset.root / "runs" / outset.plan.design.experiment),
        tuned=outset.plan.tuned,
    )


def _warn_if_nothing_can_be_shown(outset: Outset, show: Show) -> None:
    """Print a note if there are too few seeds for any significant difference: n pairs give no p below 2^(1-n)."""
    variants, seeds = len(outset.plan.design.variants), len(outset.plan.design.seeds)
    if variants > 1 and seeds < fewest_pairs() and not outset.plan.design.trials_of:
        made = "1 seed" if seeds == 1 else f"{seeds} seeds"
        show.say(f"note: {made} cannot show any difference between {variants} variants; {fewest_pairs()} can")


def find_lrs(plan: Plan, datasets: Mapping[Data, Dataset], workers: int) -> Iterator[str]:
    """Carry out each run's LR range test without recording it; yields one line per run with the suggested rate."""
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
