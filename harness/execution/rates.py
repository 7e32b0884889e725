"""Find one peak learning rate for all runs of a plan with one LR range test, before the first run, and store it."""

import json
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from harness.data.load import Dataset
from harness.environment.files import write_whole
from harness.execution.attempt import sweep
from harness.plans.plan import Plan, with_rates
from harness.plans.spec import Data, Recipe, RunSpec
from harness.records.events import LRFound
from harness.training.build import device_data
from harness.values import HarnessError, digest


def find_shared(
    plan: Plan, datasets: Mapping[Data, Dataset], root: Path, workers: int
) -> tuple[Plan, dict[str, LRFound]]:
    """Replace `optimizer.lr="find"` by the rate of a shared LR range test.

    Returns:
        The plan with these rates; and run key → LR range test, for the runs whose recipe and seed the tests used.

    Raises:
        HarnessError: a test diverged or suggests no rate.
    """
    declared: dict[str, RunSpec] = {}
    for spec in (*plan.declared, *plan.runs):
        declared.setdefault(spec.variant, spec)
    order = sorted(declared, key=lambda variant: variant != plan.design.baseline)  # the baseline first
    sweepers: dict[str, RunSpec] = {}
    for variant, spec in declared.items():
        recipe = spec.recipe
        if recipe.optimizer.lr == "find" and recipe.lr_finder and not recipe.lr_finder.each_run:
            like = next(name for name in order if _same_search(declared[name].recipe, recipe))
            sweepers[variant] = declared[like]
    asked = {sweepers[variant].variant: sweepers[variant] for variant in plan.recipes if variant in sweepers}
    found = {variant: _found(spec, plan, datasets, root, workers) for variant, spec in asked.items()}
    rates = {v: found[spec.variant].suggestion for v, spec in sweepers.items() if spec.variant in found}
    settled = with_rates(plan, rates)
    made_by = {(spec.variant, spec.seed) for spec in asked.values()}
    return settled, {s.key: found[s.variant] for s in settled.runs if (s.variant, s.seed) in made_by}


def _same_search(one: Recipe, other: Recipe) -> bool:
    return (one.lr_finder, one.optimizer) == (other.lr_finder, other.optimizer)


def _found(spec: RunSpec, plan: Plan, datasets: Mapping[Data, Dataset], root: Path, workers: int) -> LRFound:
    """The LR range test of this run, carried out once and stored in runs/<experiment>/rates.json.

    It is not repeated when code or circumstances change, because the rate is part of every run's recipe.
    """
    path = root / "runs" / spec.experiment / "rates.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    name = digest({field: value for field, value in spec.identity.items() if field != "epochs"})
    with FileLock(path.with_suffix(".lock")):
        kept = _read(path)
        if name not in kept:
            tqdm.write(f"LR range test for all runs, by {spec.variant} seed {spec.seed}")
            data = device_data(datasets[spec.recipe.data], plan.circumstances.device)
            kept[name] = sweep(spec, plan.circumstances, data, workers)
            write_whole(path, json.dumps({n: each.model_dump() for n, each in kept.items()}).encode())
    rate = kept[name].suggestion
    tqdm.write(f"peak learning rate {rate:.3g}, from the LR range test of {spec.variant} seed {spec.seed}")
    return kept[name]


def _read(path: Path) -> dict[str, LRFound]:
    try:
        kept = json.loads(path.read_bytes())
        return {name: LRFound.model_validate_json(json.dumps(each)) for name, each in kept.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise HarnessError(f"{path} cannot be read; remove it, and the rate is found anew") from error
