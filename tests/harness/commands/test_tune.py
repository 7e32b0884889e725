"""Tuning, looks and runs composed, with real trainings of a tiny network."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

import harness.execution.check
import harness.execution.execute
from harness.artifacts import write
from harness.commands.tune import make_all
from harness.data.load import Dataset, Split
from harness.execution.execute import Outcome, execute
from harness.plans.experiment import Design
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, Data, Model, RunSpec
from harness.plans.tuning import LogUniform, Tuning
from harness.records import journal
from harness.records.events import EpochDone, LRFound, Started
from harness.tracking.tracker import Summary, Tracker
from tests.harness.execution.conftest import Listener


class Remembering(Listener):
    """Keeps what was asked, in place of a courier."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Summary] = []

    def begin(self, summary: Summary) -> None:
        self.asked.append(summary)


@pytest.fixture
def courier(monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> Remembering:
    """No store, no figures, and for every recipe the tiny images, of which trials hold a third out."""
    listener = Remembering()
    monkeypatch.setattr(write, "write_artifacts", lambda *_: {})
    monkeypatch.setattr(harness.execution.execute, "Courier", lambda *_: listener)
    held = Split(dataset.train.images[48:], dataset.train.labels[48:])
    trial = replace(
        dataset, train=Split(dataset.train.images[:48], dataset.train.labels[:48]), validation=held, test=held
    )
    given = {"held_out": trial, "test": dataset}
    monkeypatch.setattr(harness.execution.check, "load", lambda data, root: given[data.scored_on])
    return listener


@pytest.fixture
def plan(spec: RunSpec, circumstances: Circumstances, design: Design) -> Plan:
    """Two norms of one seed; the rate is tuned with two trials each."""
    made = [
        spec.model_copy(
            update={
                "variant": norm,
                "recipe": spec.recipe.model_copy(update={"model": Model(name="norm_cnn", head="gap", norm=norm)}),
            }
        )
        for norm in ("batch", "group")
    ]
    asked = design.model_copy(update={"variants": ("batch", "group"), "baseline": "batch", "tuned": ("optimizer.lr",)})
    tuning = Tuning(space={"optimizer.lr": LogUniform(0.001, 0.5)}, trials=2)
    return Plan(asked, tuple(made), circumstances, tuple(made), tuning)


def go(plan: Plan, dataset: Dataset, root: Path) -> tuple[Plan, Outcome]:
    def make(part: Plan, sets: Mapping[Data, Dataset], found: Mapping[str, LRFound]) -> Outcome:
        return execute(part, sets, cast("Tracker", None), root, 0, (), found)

    return make_all(plan, dict.fromkeys((spec.recipe.data for spec in plan.runs), dataset), root, 0, make)


def events(root: Path, experiment: str) -> dict[str, Any]:
    return {
        path.parent.name: journal.read(path.parent) for path in (root / "runs" / experiment).glob("*/journal.jsonl")
    }


def test_trials_are_runs_of_their_own_and_results_are_made_with_the_values_of_the_best(
    plan: Plan, dataset: Dataset, courier: Remembering, tmp_path: Path
) -> None:
    """Four trials, scored on what they hold out; then two runs on all images, recorded with their tuned rates and in a
    summary that holds every trial."""
    made, outcome = go(plan, dataset, tmp_path)
    assert outcome.failed == []
    trials, results = events(tmp_path, "tiny_trial_tuning"), events(tmp_path, "tiny_trial")
    assert (len(trials), len(results)) == (4, 2)
    for each in trials.values():
        (started,) = [event for event in each if isinstance(event, Started)]
        assert started.design.trials_of == "tiny_trial"
        assert (started.data.train_images, started.data.validation_images, started.data.test_images) == (48, 24, 24)
        assert all(event.validation == event.test for event in each if isinstance(event, EpochDone))
    first, last = courier.asked[0], courier.asked[-1]
    assert (first.design.experiment, last.design.experiment) == ("tiny_trial_tuning", "tiny_trial")
    assert last.tuned is not None
    assert {trial.key for trial in last.tuned.trials} == trials.keys()
    for spec in made.runs:
        best = last.tuned.best(spec.variant)
        assert best is not None
        assert spec.recipe.optimizer.lr == best.values["optimizer.lr"]
        started = results[spec.key][0]
        assert (started.data.train_images, started.data.validation_images) == (72, 0)
    again, _ = go(plan, dataset, tmp_path)
    assert again.runs == made.runs, "the same command finds everything made"
    assert len(events(tmp_path, "tiny_trial_tuning")) == 4


def test_trials_that_a_signal_stopped_are_followed_by_no_run(
    plan: Plan, dataset: Dataset, courier: Remembering, tmp_path: Path
) -> None:
    """The outcome of the trials is the command's."""

    def stopped(part: Plan, sets: Mapping[Data, Dataset], found: Mapping[str, LRFound]) -> Outcome:
        assert part.design.trials_of == "tiny_trial"
        return Outcome(signal=15)

    _, outcome = make_all(plan, {}, tmp_path, 0, stopped)
    assert outcome.signal == 15
