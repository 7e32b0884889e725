"""The form of the training step: measured where that can pay, the same for all runs, kept."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.data.load import Dataset
from harness.plans.plan import Plan
from harness.plans.spec import Data, Design, Recipe, RunSpec
from harness.training import autotune
from harness.training.autotune import Measured, settle

Datasets = dict[Data, Dataset]


@pytest.fixture
def plan(spec: RunSpec, design: Design) -> Plan:
    return Plan(design, (spec,))


@pytest.fixture
def datasets(spec: RunSpec, dataset: Dataset) -> Datasets:
    return {spec.recipe.data: dataset}  # pyright: ignore[reportUnhashable] pydantic makes frozen models hashable


def measuring(monkeypatch: pytest.MonkeyPatch, took: float, eager: float, compiled: float) -> None:
    """Pretend that any training is worth a measurement, and what it shows, in seconds."""
    monkeypatch.setattr(autotune, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(autotune, "_compiled_seconds", lambda *_: (eager, compiled, took))


def steps(plan: Plan) -> set[str]:
    return {spec.recipe.step for spec in plan.runs}


def test_a_short_training_is_not_compiled(
    plan: Plan, datasets: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten steps of a few milliseconds: eager, without asking the compiler, and not worth a word."""
    monkeypatch.setattr(torch, "compile", None)
    assert steps(settle(plan, datasets, tmp_path)) == {"eager"}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("took", "compiled", "step"),
    [(1.0, 0.5, "compiled"), (6.0, 0.5, "eager"), (0.0, 0.96, "eager"), (0.0, 0.94, "compiled"), (0.0, 1.2, "eager")],
)
def test_what_is_faster_with_its_compilation_counted_is_taken(
    plan: Plan,
    datasets: Datasets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    took: float,
    compiled: float,
    step: str,
) -> None:
    """Ten steps of a second: half a second a step pays for one second of compiling, not for six; 5% is the least."""
    measuring(monkeypatch, took, 1.0, compiled)
    settled = settle(plan, datasets, tmp_path)
    assert steps(settled) == {step}
    assert settled.design.variants[0].recipe_digest in settled.runs[0].key


def test_the_choice_is_kept_for_other_seeds_and_variants(
    plan: Plan, datasets: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured anew only when the recipe changes in more than the factor: else finished runs would be made again."""
    measuring(monkeypatch, 0.0, 1.0, 0.5)
    assert steps(settle(plan, datasets, tmp_path)) == {"compiled"}
    measuring(monkeypatch, 0.0, 1.0, 2.0)
    spec = plan.runs[0]
    model = spec.recipe.model.model_copy(update={"norm": "group"})
    other = spec.recipe.model_copy(update={"model": model})
    more = (*plan.runs, spec.model_copy(update={"seed": 1}), spec.model_copy(update={"variant": "x", "recipe": other}))
    assert steps(settle(replace(plan, runs=more), datasets, tmp_path)) == {"compiled"}
    longer = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"epochs": 3})})
    assert steps(settle(replace(plan, runs=(longer,)), datasets, tmp_path)) == {"eager"}
    assert len(json.loads((tmp_path / "runs" / "steps.json").read_text())) == 2


def test_what_was_too_short_is_asked_again_of_more_runs(
    plan: Plan, datasets: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial of one seed decides nothing for the many that follow it; asked again, it finds its own run again."""
    assert steps(settle(plan, datasets, tmp_path)) == {"eager"}
    measuring(monkeypatch, 0.0, 1.0, 0.5)
    assert steps(settle(plan, datasets, tmp_path)) == {"eager"}
    more = replace(plan, runs=(*plan.runs, plan.runs[0].model_copy(update={"seed": 1})))
    assert steps(settle(more, datasets, tmp_path)) == {"compiled"}
    assert steps(settle(plan, datasets, tmp_path)) == {"compiled"}


def test_every_runs_compiling_counts(
    plan: Plan, datasets: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run's is timed apart from the others', whose code is kept: 2 s and 3 times 5 s here."""
    monkeypatch.setattr(autotune, "_seconds", lambda step: 5.0)
    monkeypatch.setattr(autotune, "_pairs", lambda *_: (2.0, [(1.0, 0.5)] * 3))
    recipe, dataset = plan.runs[0].recipe, next(iter(datasets.values()))
    assert autotune._compiled_seconds(lambda: None, recipe, dataset, runs=4) == (1.0, 0.5, 2.0 + 3 * 5.0)
    assert autotune._compiled_seconds(lambda: None, recipe, dataset, runs=1) == (1.0, 0.5, 2.0)


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"a": {"unheard": 1}}'])
def test_a_file_that_cannot_be_read_is_measured_anew(
    plan: Plan, datasets: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bytes
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "steps.json").write_bytes(torn)
    measuring(monkeypatch, 0.0, 1.0, 0.5)
    assert steps(settle(plan, datasets, tmp_path)) == {"compiled"}
    assert len(json.loads((tmp_path / "runs" / "steps.json").read_text())) == 1


def test_what_fails_while_it_is_measured_is_left_to_the_run(
    plan: Plan, datasets: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little memory, a network that fails: the run meets it too and records it; nothing is kept."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(autotune, "take_step", fail)
    assert steps(settle(plan, datasets, tmp_path)) == {"eager"}
    assert not (tmp_path / "runs" / "steps.json").exists()


@pytest.mark.parametrize(
    ("compiled", "fused", "step"),
    [(0.9, 0.5, "fused"), (0.5, 0.9, "compiled"), (None, 0.5, "fused"), (None, 0.96, "eager"), (0.5, None, "compiled")],
)
def test_the_fastest_form_is_taken(compiled: float | None, fused: float | None, step: str) -> None:
    """If it wins by 5% over the eager one's second."""
    assert Measured(eager_seconds=1.0, compiled_seconds=compiled, fused_seconds=fused).step == step


def test_seeds_are_never_fused_where_that_loses(
    plan: Plan, datasets: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU it is not even tried, however long the training."""
    measuring(monkeypatch, 0.0, 1.0, 2.0)
    monkeypatch.setattr(autotune, "FUSED_WORTH_SECONDS", 0.0)
    taken, make = list[str](), autotune._step

    def step(recipe: Recipe, form: str, dataset: Dataset, runs: int = 1) -> autotune.Step:
        taken.append(form)
        return make(recipe, form, dataset, runs)

    monkeypatch.setattr(autotune, "_step", step)
    more = replace(plan, runs=(*plan.runs, plan.runs[0].model_copy(update={"seed": 1})))
    assert steps(settle(more, datasets, tmp_path)) == {"eager"}
    (kept,) = json.loads((tmp_path / "runs" / "steps.json").read_text()).values()
    assert kept["fused_seconds"] is None
    assert taken == ["eager"]


def test_a_fused_step_counts_once_for_all_seeds(
    plan: Plan, datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of 10 steps, as the 10 steps of both at once that take 0.25 s each."""
    measuring(monkeypatch, 0.0, 1.0, 2.0)
    monkeypatch.setattr(autotune, "FUSED_WORTH_SECONDS", 0.0)
    monkeypatch.setattr(autotune, "_fused_seconds", lambda recipe, dataset, runs: 0.125 * runs)
    both = replace(plan, runs=(*plan.runs, plan.runs[0].model_copy(update={"seed": 1})))
    measured = autotune._measure(both, {"plain": plan.runs[0].recipe}, datasets)
    assert measured.eager_seconds == 20.0
    assert measured.fused_seconds == 2.5
    assert measured.step == "fused"


def test_the_fused_step_can_be_timed(spec: RunSpec, dataset: Dataset) -> None:
    """Three runs' step at once, as it is measured on a GPU."""
    autotune._step(spec.recipe, "fused", dataset, runs=3)()


@pytest.mark.parametrize("step", ["eager", "compiled", "fused"])
def test_a_forced_step_is_not_measured(
    plan: Plan, datasets: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """SET="step=…" decides, and nothing is written."""
    spec = plan.runs[0]
    forced = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"step": step})})
    monkeypatch.setattr(autotune, "_measure", None)
    assert steps(settle(replace(plan, runs=(forced,)), datasets, tmp_path)) == {step}
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_the_step_is_eager(
    plan: Plan, datasets: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever compiling raises is said in one line, and training goes on without it."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found\nin all the usual places")

    monkeypatch.setattr(autotune, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(torch, "compile", fail)
    assert steps(settle(plan, datasets, tmp_path)) == {"eager"}
    said = capsys.readouterr().out.splitlines()
    problem = "compiling failed: No working C++ compiler found; remove runs/steps.json to try again"
    assert said[-1] == f"training step: eager ({problem})"
