"""A plan of three seeds, its execution in a temporary folder, and stand-ins for training and for the courier."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

import harness.execution.execute
import harness.execution.grid
import harness.execution.progress
import harness.execution.run
from harness.artifacts import write
from harness.data.load import Dataset
from harness.execution.execute import Outcome, execute
from harness.execution.run import run_folder
from harness.plans.experiment import Design
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, Data, RunSpec
from harness.records import journal
from harness.records.events import EpochDone, Event, Scores, Started
from harness.tracking.tracker import Tracker
from tests.harness import runs


@dataclass
class StandIn(ABC):
    """In place of training: writes the journal of a run; `events` decides its content."""

    root: Path
    template: list[Event]
    stop_after: int | None = None
    """Stops as if by a signal before this many more runs are made."""
    made: list[RunSpec] = field(default_factory=list)

    def __call__(self, plan: Plan) -> Outcome:
        for spec in plan.runs:
            folder = run_folder(self.root, spec)
            if (folder / "journal.jsonl").exists():
                continue
            if len(self.made) == self.stop_after:
                return Outcome(signal=2)
            self.made.append(spec)
            runs.write(folder, self.events(spec, plan.design))
        return Outcome()

    @abstractmethod
    def events(self, spec: RunSpec, design: Design) -> list[Event]:
        """What the run's journal holds."""

    def begun(self, spec: RunSpec, design: Design) -> Started:
        """The first event of a run."""
        return runs.begun(self.template).model_copy(update={"spec": spec, "design": design})

    def scored(self, spec: RunSpec, design: Design, **scores: Scores) -> list[Event]:
        """The events of a finished run with these scores after every epoch."""
        later = [e.model_copy(update=scores) if isinstance(e, EpochDone) else e for e in self.template[2:]]
        return [self.begun(spec, design), *later]


class Listener:
    """In the courier's place: remembers what it is told, and does something when it hears of an event."""

    def __init__(self, on_fact: Callable[[Path], None] = lambda folder: None):
        self.heard: list[tuple[str, str]] = []
        self.on_fact = on_fact

    def begin(self, summary: Any) -> None:
        self.heard.append(("summary", summary.design.experiment))

    def tell(self, folder: Path, now: bool = False) -> None:
        self.heard.append(("interrupt" if now else journal.read(folder)[-1].kind, folder.name))
        self.on_fact(folder)

    def finish(self, folders: Any) -> list[Path]:
        self.heard += [("finish", folder.name) for folder in folders]
        return []

    def is_latest(self, summary: Any) -> bool:
        return True


@pytest.fixture
def plan(spec: RunSpec, circumstances: Circumstances, design: Design) -> Plan:
    """Three seeds of one variant."""
    return Plan(design, tuple(spec.model_copy(update={"seed": seed}) for seed in range(3)), circumstances)


@pytest.fixture
def go(plan: Plan, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """go(listener=…, plan=…) executes, without figures."""
    monkeypatch.setattr(write, "write_artifacts", lambda *_: {})

    def execute_plan(listener: Any = None, plan: Plan = plan, allowed: tuple[str, ...] = ()) -> Outcome:
        monkeypatch.setattr(harness.execution.execute, "Courier", lambda *_: listener or Listener())
        return execute(plan, of(plan, dataset), cast("Tracker", None), tmp_path, 0, allowed)

    return execute_plan


def of(plan: Plan, dataset: Dataset) -> dict[Data, Dataset]:
    """The data sets of a plan, as `check` returns them."""
    return dict.fromkeys((spec.recipe.data for spec in plan.runs), dataset)


def changed(plan: Plan, **recipe: Any) -> Plan:
    """The plan's first run, with another recipe."""
    spec = plan.runs[0]
    return replace(plan, runs=(spec.model_copy(update={"recipe": spec.recipe.model_copy(update=recipe)}),))


def ends(root: Path, plan: Plan) -> list[str]:
    journals = [journal.read(run_folder(root, spec)) for spec in plan.runs]
    return [events[-1].kind if events else "nothing" for events in journals]
