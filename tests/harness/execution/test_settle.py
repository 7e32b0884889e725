"""The circumstances of a plan's runs: measured once, kept, and the same for all that are added later."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.data.load import Dataset
from harness.execution.settle import settle
from harness.plans.experiment import Design
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, Data, RunSpec
from harness.training import autotune
from harness.training.autotune import Measured

Datasets = dict[Data, Dataset]
OPEN = Circumstances(device="cpu")
COMPILED = Measured(threads=1, memory_format="contiguous", step="compiled", reason="measured: it wins")
LOST = Measured(threads=2, memory_format="channels_last", step="eager", reason="measured: nothing wins")
SHORT = Measured(threads=2, memory_format="channels_last", step="eager")


@pytest.fixture
def plan(spec: RunSpec, design: Design, circumstances: Circumstances) -> Plan:
    """One run, on two threads until something is measured."""
    return Plan(design, (spec,), circumstances.model_copy(update={"threads": 2, "step": "auto"}))


@pytest.fixture
def datasets(spec: RunSpec, dataset: Dataset) -> Datasets:
    return {spec.recipe.data: dataset}  # pyright: ignore[reportUnhashable] pydantic makes frozen models hashable


class Measurements:
    """What measuring would find, and how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.finds, self.asked = COMPILED, 0
        monkeypatch.setattr(autotune, "measure", self._measure)

    def _measure(self, plan: Plan, datasets: Datasets, asked: Circumstances) -> Measured:
        self.asked += 1
        return self.finds.model_copy(update={"runs": autotune.runs_each(plan)})


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> Measurements:
    return Measurements(monkeypatch)


def settled(plan: Plan, datasets: Datasets, root: Path, asked: Circumstances = OPEN) -> tuple[int | str, str, str]:
    found = settle(plan, datasets, root, asked)
    assert (found.design, found.runs) == (plan.design, plan.runs)
    around = found.circumstances
    return around.threads, around.memory_format, around.step


def kept(root: Path) -> int:
    return len(json.loads((root / "runs" / "steps.json").read_text()))


def test_what_was_measured_is_applied_and_said(
    plan: Plan, datasets: Datasets, tmp_path: Path, measurements: Measurements, capsys: pytest.CaptureFixture[str]
) -> None:
    """To what the user left open, and to nothing else; each way of leaving things open is measured for itself."""
    assert settled(plan, datasets, tmp_path) == (1, "contiguous", "compiled")
    assert capsys.readouterr().out == "training step: compiled, threads 1 (measured: it wins)\n"
    given = Circumstances(device="cpu", threads=2, step="eager")
    around = plan.circumstances.model_copy(update={"step": "eager"})
    assert settled(replace(plan, circumstances=around), datasets, tmp_path, given) == (2, "contiguous", "eager")
    assert kept(tmp_path) == 2


def test_the_choice_is_kept_for_other_seeds_and_variants(
    plan: Plan, datasets: Datasets, tmp_path: Path, measurements: Measurements
) -> None:
    """Measured anew only when the recipe changes in more than the factor: else finished runs could not be compared."""
    assert settled(plan, datasets, tmp_path) == (1, "contiguous", "compiled")
    measurements.finds = LOST
    spec = plan.runs[0]
    model = spec.recipe.model.model_copy(update={"norm": "group"})
    other = spec.recipe.model_copy(update={"model": model})
    more = (*plan.runs, spec.model_copy(update={"seed": 1}), spec.model_copy(update={"variant": "x", "recipe": other}))
    assert settled(replace(plan, runs=more), datasets, tmp_path)[2] == "compiled"
    assert measurements.asked == 1
    longer = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"epochs": 3})})
    assert settled(replace(plan, runs=(longer,)), datasets, tmp_path)[2] == "eager"
    assert (measurements.asked, kept(tmp_path)) == (2, 2)


def test_what_was_too_short_is_asked_again_of_more_runs(
    plan: Plan, datasets: Datasets, tmp_path: Path, measurements: Measurements, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trial of one seed decides nothing for the many that follow it, and is not worth a word; what was measured, and
    lost, is not asked again."""
    measurements.finds = SHORT
    assert settled(plan, datasets, tmp_path) == (2, "channels_last", "eager")
    assert capsys.readouterr().out == ""
    measurements.finds = LOST
    assert settled(plan, datasets, tmp_path)[2] == "eager"
    assert measurements.asked == 1
    for seeds, asked in ((2, 2), (3, 2)):
        runs = tuple(plan.runs[0].model_copy(update={"seed": seed}) for seed in range(seeds))
        assert settled(replace(plan, runs=runs), datasets, tmp_path)[2] == "eager"
        assert measurements.asked == asked


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"a": {"eager_seconds": 1.0}}'])
def test_a_file_that_cannot_be_read_is_measured_anew(
    plan: Plan, datasets: Datasets, tmp_path: Path, measurements: Measurements, torn: bytes
) -> None:
    """Torn, or of an earlier version."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "steps.json").write_bytes(torn)
    assert settled(plan, datasets, tmp_path)[2] == "compiled"
    assert kept(tmp_path) == 1


def test_what_fails_while_it_is_measured_is_left_to_the_run(
    plan: Plan, datasets: Datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little memory, a network that fails: the run meets it too and records it; nothing is kept."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(autotune, "training_step", fail)
    assert settled(plan, datasets, tmp_path) == (2, "channels_last", "eager")
    assert not (tmp_path / "runs" / "steps.json").exists()


@pytest.mark.parametrize("step", ["eager", "compiled", "stacked"])
def test_what_is_asked_for_is_not_measured(
    plan: Plan, datasets: Datasets, tmp_path: Path, measurements: Measurements, step: str
) -> None:
    """SET="threads=… memory_format=… step=…" decides, and nothing is written."""
    around = {"threads": 2, "memory_format": "channels_last", "step": step}
    given = OPEN.model_copy(update=around)
    forced = replace(plan, circumstances=plan.circumstances.model_copy(update=around))
    assert settled(forced, datasets, tmp_path, given) == (2, "channels_last", step)
    assert (measurements.asked, list(tmp_path.iterdir())) == (0, [])


def test_a_short_training_is_settled_by_one_step(plan: Plan, datasets: Datasets, tmp_path: Path) -> None:
    """Nothing pretended: ten real steps are not worth measuring."""
    assert settled(plan, datasets, tmp_path) == (2, "channels_last", "eager")
