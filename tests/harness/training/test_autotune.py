"""The circumstances of a training: measured where that can pay, for a small share of its time, and said why."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from harness.data.load import Dataset
from harness.plans.experiment import Design
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, Data, Recipe, RunSpec
from harness.training import autotune
from harness.training.autotune import Measured, measure

Datasets = dict[Data, Dataset]
ASKED = Circumstances(device="cpu")
PLAIN = Measured(threads=2, memory_format="channels_last", step="eager")
Cost = Callable[[Recipe, Circumstances, int], float]


@pytest.fixture
def plan(spec: RunSpec, design: Design, circumstances: Circumstances) -> Plan:
    """One run of 500 steps on two threads."""
    longer = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"epochs": 100})})
    return Plan(design, (longer,), circumstances.model_copy(update={"threads": 2}))


@pytest.fixture
def datasets(spec: RunSpec, dataset: Dataset) -> Datasets:
    return {spec.recipe.data: dataset}  # pyright: ignore[reportUnhashable] pydantic makes frozen models hashable


def more(plan: Plan, seeds: int = 1, **models: Any) -> Plan:
    """The plan with so many seeds of its variant, or of one variant for each of these norms."""
    spec = plan.runs[0]
    model = spec.recipe.model
    recipes = {name: {"model": model.model_copy(update={"norm": norm})} for name, norm in models.items()}
    variants = [
        spec.model_copy(update={"variant": name, "recipe": spec.recipe.model_copy(update=change)})
        for name, change in recipes.items()
    ] or [spec]
    runs = (variant.model_copy(update={"seed": seed}) for variant in variants for seed in range(seeds))
    return replace(plan, runs=tuple(runs))


class Clock:
    """Steps that take what they are said to take, and a list of those that were taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cost: Cost):
        self.cost, self.taken = cost, list[tuple[int, str, str]]()
        monkeypatch.setattr(autotune, "training_step", self._step)
        monkeypatch.setattr(autotune, "_seconds", lambda step: step())
        self.compiled = list[str]()

    def _step(self, recipe: Recipe, around: Circumstances, dataset: Dataset, runs: int = 1) -> Callable[[], float]:
        def take() -> float:
            self.taken.append((int(around.threads), around.memory_format, around.step))
            return self.cost(recipe, around, runs)

        return take


def test_a_short_training_is_not_measured(
    plan: Plan, datasets: Datasets, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """500 steps of a tenth of a second: one step is taken, and nothing is said or changed."""
    clock = Clock(monkeypatch, lambda *_: 0.1)
    assert measure(plan, datasets, ASKED) == PLAIN
    assert clock.taken == [(2, "channels_last", "eager")]
    assert capsys.readouterr().out == ""


def test_few_long_steps_are_not_measured(plan: Plan, datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 steps of 10 seconds: measuring would take as many."""
    spec = plan.runs[0]
    few = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"epochs": 4})})
    clock = Clock(monkeypatch, lambda *_: 10.0)
    assert measure(replace(plan, runs=(few,)), datasets, ASKED) == PLAIN
    assert len(clock.taken) == 1


@pytest.mark.parametrize(
    ("one_thread", "contiguous", "threads", "memory_format"),
    [
        (0.5, 1.0, 1, "channels_last"),
        (0.96, 1.0, 2, "channels_last"),
        (3.0, 0.7, 2, "contiguous"),
        (0.5, 0.7, 1, "contiguous"),
    ],
)
def test_threads_and_memory_format_are_those_that_are_faster(
    plan: Plan,
    datasets: Datasets,
    monkeypatch: pytest.MonkeyPatch,
    one_thread: float,
    contiguous: float,
    threads: int,
    memory_format: str,
) -> None:
    """One after the other, by 5% at least, whichever is faster beside whatever else the machine does now; in no more
    than 24 steps of 500. What was tried is said whichever way it ended, so that it is not tried again."""

    def cost(recipe: Recipe, around: Circumstances, runs: int) -> float:
        by_threads = one_thread if around.threads == 1 else 1.0
        return by_threads * (contiguous if around.memory_format == "contiguous" else 1.0)

    clock = Clock(monkeypatch, cost)
    found = measure(plan, datasets, ASKED)
    assert (found.threads, found.memory_format, found.step) == (threads, memory_format, "eager")
    ratios = f"threads 1 makes steps {1 / one_thread:.2f} times as fast; measured: memory_format contiguous makes steps"
    assert found.reason == f"measured: {ratios} {1 / contiguous:.2f} times as fast"
    assert len(clock.taken) <= 24


def test_what_was_asked_for_is_not_varied(plan: Plan, datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    """threads=2 stays 2, however fast one would be; and what is given is not given up for what was measured."""
    clock = Clock(monkeypatch, lambda recipe, around, runs: 1.0 if around.threads == 2 else 0.1)
    asked = Circumstances(device="cpu", threads=2, memory_format="channels_last", step="eager")
    assert measure(plan, datasets, asked) == PLAIN
    assert {threads for threads, _, _ in clock.taken} == {2}
    faster = Measured(threads=1, memory_format="contiguous", step="compiled")
    assert faster.applied(asked, left_open=asked) == asked
    applied = faster.applied(asked, left_open=asked.model_copy(update={"threads": "auto"}))
    assert applied == asked.model_copy(update={"threads": 1})
    assert faster.applied(asked, left_open=ASKED).step == "compiled"


def compiling(monkeypatch: pytest.MonkeyPatch, took: float, compiled: dict[str, float]) -> list[str]:
    """Have steps of a second take so long when they are compiled, by the network's norm; returns what was tried."""
    Clock(monkeypatch, lambda *_: 1.0)
    monkeypatch.setattr(autotune, "COMPILING_WORTH_SECONDS", 0.0)
    tried = list[str]()

    def seconds(plain: object, recipe: Recipe, *_: object) -> tuple[float, float, float]:
        tried.append(str(recipe.model.options.get("norm", "batch")))
        return 1.0, compiled[tried[-1]], took

    monkeypatch.setattr(autotune, "_compiled_seconds", seconds)
    return tried


@pytest.mark.parametrize(
    ("took", "compiled", "step"),
    [
        (50.0, 0.5, "compiled"),
        (300.0, 0.5, "eager"),
        (0.0, 0.96, "eager"),
        (0.0, 0.94, "compiled"),
        (0.0, 1.2, "eager"),
    ],
)
def test_what_is_faster_with_its_compilation_counted_is_taken(
    plan: Plan, datasets: Datasets, monkeypatch: pytest.MonkeyPatch, took: float, compiled: float, step: str
) -> None:
    """500 steps of a second: half a second a step pays for 50 seconds of compiling, not for 300; 5% is the least."""
    compiling(monkeypatch, took, {"batch": compiled})
    assert measure(plan, datasets, ASKED).step == step


def test_a_training_of_minutes_is_not_compiled(plan: Plan, datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight minutes could be worth four, but trying takes one for every network."""
    tried = compiling(monkeypatch, 0.0, {"batch": 0.5})
    monkeypatch.setattr(autotune, "COMPILING_WORTH_SECONDS", 1200.0)
    assert measure(plan, datasets, ASKED).step == "eager"
    assert tried == []


def test_a_form_that_loses_for_one_variant_is_not_tried_for_the_next(
    plan: Plan, datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiling took minutes a network and lost; nor are seeds as one tried again. Where the first gains, all are."""
    three = more(plan, seeds=2, a="batch", b="group", c="layer")
    there = replace(three, circumstances=three.circumstances.model_copy(update={"device": "cuda"}))
    stacked = list[str]()

    def seconds(recipe: Recipe, *_: object) -> float:
        stacked.append(str(recipe.model.options["norm"]))
        return 3.0

    monkeypatch.setattr(autotune, "_stacked_seconds", seconds)
    tried = compiling(monkeypatch, 0.0, {"batch": 1.5, "group": 0.1, "layer": 0.1})
    found = measure(there, datasets, ASKED)
    assert (tried, stacked, found.step) == (["batch"], ["batch"], "eager")
    assert "compiling 'a' makes its steps 0.67 times as fast" in found.reason
    assert "'a', its seeds as one, takes steps 0.67 times as fast" in found.reason
    tried = compiling(monkeypatch, 0.0, {"batch": 0.5, "group": 0.9, "layer": 1.2})
    assert measure(there, datasets, ASKED).step == "compiled"
    assert (tried, stacked) == (["batch", "group", "layer"], ["batch"] * 2)


def test_every_runs_compiling_counts(plan: Plan, datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run's is timed apart from the others', whose code is kept: 2 s and 3 times 5 s here."""
    monkeypatch.setattr(autotune, "training_step", lambda *_: None)
    monkeypatch.setattr(autotune, "_seconds", lambda step: 5.0)
    monkeypatch.setattr(autotune, "_pairs", lambda *_: (2.0, [(1.0, 0.5)] * 3))
    recipe, dataset = plan.runs[0].recipe, next(iter(datasets.values()))
    around = plan.circumstances
    assert autotune._compiled_seconds(lambda: None, recipe, around, dataset, runs=4) == (1.0, 0.5, 2.0 + 3 * 5.0)
    assert autotune._compiled_seconds(lambda: None, recipe, around, dataset, runs=1) == (1.0, 0.5, 2.0)


@pytest.mark.parametrize(
    ("device", "seeds", "stacked", "step"),
    [
        ("cuda", 2, 0.4, "stacked"),
        ("cuda", 2, 1.92, "eager"),
        ("cuda", 1, 0.4, "eager"),
        ("cpu", 2, 0.4, "eager"),
    ],
)
def test_a_stacked_step_counts_once_for_all_seeds(
    plan: Plan,
    datasets: Datasets,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    seeds: int,
    stacked: float,
    step: str,
) -> None:
    """A step of both runs may take twice as long as one's, less 5%; it is not even tried on a CPU, or for one seed."""
    clock = Clock(monkeypatch, lambda recipe, around, runs: stacked if around.step == "stacked" else 1.0)
    there = replace(plan, circumstances=plan.circumstances.model_copy(update={"device": device}))
    assert measure(more(there, seeds=seeds), datasets, ASKED).step == step
    tried = any(form == "stacked" for _, _, form in clock.taken)
    assert tried == (device == "cuda" and seeds > 1)


def test_real_steps_are_timed(plan: Plan, datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine, eager ones in both memory formats; where there is no compiler, whatever compiling raises is said
    in one line, and training goes on without it. Three runs' step at once, as it is measured on a GPU."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found\nin all the usual places")

    for name in ("WORTH_SECONDS", "COMPILING_WORTH_SECONDS"):
        monkeypatch.setattr(autotune, name, 0.0)
    monkeypatch.setattr(torch, "compile", fail)
    one_thread = replace(plan, circumstances=plan.circumstances.model_copy(update={"threads": 1}))
    found = measure(one_thread, datasets, ASKED)
    assert (found.threads, found.step) == (1, "eager")
    assert found.reason.startswith("measured: memory_format contiguous makes steps ")
    problem = "; compiling failed: No working C++ compiler found; remove runs/steps.json to try again"
    assert found.reason.endswith(problem)
    recipe, around = plan.runs[0].recipe, one_thread.circumstances.model_copy(update={"step": "stacked"})
    autotune.training_step(recipe, around, next(iter(datasets.values())), runs=3)()
