"""One rate for all runs: found by one range test, kept, and recorded by the run that made it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness.execution.rates
from harness.data.load import Dataset
from harness.execution.rates import find_shared
from harness.plans.experiment import Design
from harness.plans.hyperparameters import SGD, LRFinder
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, Data, Model, RunSpec
from harness.records.events import LRFound
from harness.values import HarnessError

FINDER = LRFinder(start_lr=1e-4, end_lr=0.5, iterations=20, diverge_threshold=100.0)


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Variant and seed of every range test; the n-th suggests n / 10."""
    made: list[tuple[str, int]] = []

    def sweep(spec: RunSpec, *_: Any) -> LRFound:
        made.append((spec.variant, spec.seed))
        return LRFound(time=0.0, lrs=(0.1,), losses=(1.0,), suggestion=len(made) / 10, seconds=1.0)

    monkeypatch.setattr(harness.execution.rates, "sweep", sweep)
    return made


def planned(spec: RunSpec, circumstances: Circumstances, design: Design, **variants: dict[str, Any]) -> Plan:
    """Two seeds of each variant, whose recipes differ from the tiny one as told."""
    finding = spec.recipe.model_copy(update={"optimizer": SGD(lr="find"), "lr_finder": FINDER})
    runs = [
        spec.model_copy(update={"variant": name, "seed": seed, "recipe": finding.model_copy(update=changes)})
        for seed in (3, 4)
        for name, changes in variants.items()
    ]
    return Plan(design.model_copy(update={"baseline": next(iter(variants))}), tuple(runs), circumstances)


def settle(plan: Plan, dataset: Dataset, root: Path) -> tuple[dict[str, Any], list[str]]:
    """Variant → the rate of its runs, and the variants whose runs record the test."""
    datasets: dict[Data, Dataset] = dict.fromkeys((spec.recipe.data for spec in plan.runs), dataset)
    settled, found = find_shared(plan, datasets, root, workers=0)
    assert all(len({s.recipe.optimizer.lr for s in settled.runs if s.variant == name}) == 1 for name in settled.recipes)
    records = [spec.variant for spec in settled.runs if spec.key in found]
    return {name: recipe.optimizer.lr for name, recipe in settled.recipes.items()}, records


def test_the_baselines_first_seed_finds_it_for_all(
    spec: RunSpec, circumstances: Circumstances, design: Design, dataset: Dataset, tmp_path: Path, swept: list[Any]
) -> None:
    """Once, also for a later command; a variant that gives a number keeps it."""
    plan = planned(
        spec,
        circumstances,
        design,
        a={},
        b={"model": Model(name="norm_cnn", norm="group")},
        c={"optimizer": SGD(lr=7.0)},
    )
    for _ in range(2):
        assert settle(plan, dataset, tmp_path) == ({"a": 0.1, "b": 0.1, "c": 7.0}, ["a"])
    assert swept == [("a", 3)]


def test_the_rate_is_the_same_whatever_is_asked_for(
    spec: RunSpec, circumstances: Circumstances, design: Design, dataset: Dataset, tmp_path: Path, swept: list[Any]
) -> None:
    """One variant without the baseline, or a later seed alone: else their runs would be others than those of all."""
    whole = planned(spec, circumstances, design, a={}, b={"model": Model(name="norm_cnn", norm="group")})
    declared = replace(whole, declared=whole.runs[:2])
    for runs in (whole.runs[1:2], whole.runs[2:3], whole.runs):
        part = replace(declared, runs=runs)
        assert set(settle(part, dataset, tmp_path)[0].values()) == {0.1}
    assert swept == [("a", 3)]


def test_variants_that_search_otherwise_have_a_rate_of_their_own(
    spec: RunSpec, circumstances: Circumstances, design: Design, dataset: Dataset, tmp_path: Path, swept: list[Any]
) -> None:
    """A factor that is the finder itself; and where each run is to find its own, nothing is settled."""
    late, each = (FINDER.model_copy(update=update) for update in ({"start_lr": 0.01}, {"each_run": True}))
    plan = planned(spec, circumstances, design, a={}, late={"lr_finder": late}, each={"lr_finder": each})
    assert settle(plan, dataset, tmp_path) == ({"a": 0.1, "late": 0.2, "each": "find"}, ["a", "late"])
    assert swept == [("a", 3), ("late", 3)]


def test_a_damaged_file_of_rates_is_named(
    spec: RunSpec, circumstances: Circumstances, design: Design, dataset: Dataset, tmp_path: Path, swept: list[Any]
) -> None:
    """Nothing is found anew in silence: it would change the recipes of runs that are made."""
    path = tmp_path / "runs" / "tiny_trial" / "rates.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(HarnessError, match=r"rates.json cannot be read; remove it, and the rate is found anew$"):
        settle(planned(spec, circumstances, design, a={}), dataset, tmp_path)
    assert swept == []
