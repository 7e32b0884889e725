"""Measure the fastest circumstances for a plan's runs once, and store them so that later commands use the same ones.

Circumstances change the last bits of every sum, so all runs of an experiment must have the same ones, including runs
of seeds and variants that are added later.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock
from tqdm import tqdm

from harness.data.load import Dataset
from harness.environment import code_at_start
from harness.environment.files import write_whole
from harness.execution import split
from harness.execution.split import Split
from harness.plans.differences import within
from harness.plans.plan import Plan, together
from harness.plans.spec import Circumstances, Data
from harness.records import journal
from harness.training import autotune
from harness.values import digest, first_line, flatten

_MEASURED = ("threads", "memory_format", "step")


def settle(plan: Plan, datasets: dict[Data, Dataset], root: Path, asked: Circumstances) -> Plan:
    """Resolve all remaining "auto" circumstances; measuring takes a small share of the training time.

    Args:
        asked: the circumstances as the user gave them; those that are "auto" are measured.
    """
    if asked.jobs == "auto":
        plan, asked = _with_split(plan, datasets, root, asked)
    if all(getattr(asked, name) != "auto" for name in _MEASURED):
        return plan
    path = root / "runs" / "steps.json"
    path.parent.mkdir(exist_ok=True)
    name, experiment = _name(plan, datasets, root, asked), root / "runs" / plan.design.experiment
    fresh = not any(experiment.glob(f"*/{journal.NAME}"))  # else further seeds could differ from the first ones
    with FileLock(path.with_suffix(".lock")):
        kept = _read(path)
        if name not in kept or (fresh and not kept[name].reason and kept[name].runs < autotune.runs_each(plan)):
            try:
                kept[name] = autotune.measure(plan, datasets, asked)
            except Exception:  # for example out of memory: the runs will fail alike and record it
                return _with(plan, autotune.plain(plan.circumstances), asked)
            write_whole(path, json.dumps({n: m.model_dump() for n, m in kept.items()}, indent=2).encode())
    if kept[name].reason:
        tqdm.write(f"training step: {kept[name].step}, threads {kept[name].threads} ({kept[name].reason})")
    return _with(plan, kept[name], asked)


def _with_split(
    plan: Plan, datasets: dict[Data, Dataset], root: Path, asked: Circumstances
) -> tuple[Plan, Circumstances]:
    """The plan with the number of concurrent runs and their threads, chosen once and stored in runs/jobs.json."""
    path = root / "runs" / "jobs.json"
    path.parent.mkdir(exist_ok=True)
    name = f"{_name(plan, datasets, root, asked)}-{len(together(plan))}"
    with FileLock(path.with_suffix(".lock")):
        try:
            kept = {key: Split.model_validate(values) for key, values in json.loads(path.read_bytes()).items()}
        except (FileNotFoundError, ValueError, AttributeError):  # missing, or not a file of ours
            kept = {}
        if name not in kept:
            try:
                kept[name] = split.choose(plan, datasets, root, asked)
            except Exception as error:  # for example out of memory: one run at a time needs the least
                said = f"measuring failed: {first_line(error)[:200]}"
                return split.apply(plan, asked, Split(jobs=1, threads=int(plan.circumstances.threads), reason=said))
            write_whole(path, json.dumps({n: each.model_dump() for n, each in kept.items()}, indent=2).encode())
    found = kept[name]
    threads = f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    tqdm.write(f"jobs: {found.jobs} at once, {threads} each ({found.reason or 'there is one run'})")
    return split.apply(plan, asked, found)


def _with(plan: Plan, measured: autotune.Measured, asked: Circumstances) -> Plan:
    return replace(plan, circumstances=measured.applied(plan.circumstances, asked))


def _read(path: Path) -> dict[str, autotune.Measured]:
    try:
        kept = json.loads(path.read_bytes())
        return {name: autotune.Measured.model_validate(values) for name, values in kept.items()}
    except (FileNotFoundError, ValueError, AttributeError):  # missing, or not a file of ours: measure again
        return {}


def _name(plan: Plan, datasets: dict[Data, Dataset], root: Path, asked: Circumstances) -> str:
    """A digest of what the choice depends on; independent of seeds and variants, so that more can be added later."""
    recipe = plan.runs[0].recipe
    common = {field: value for field, value in flatten(recipe).items() if not within(field, plan.design.factor)}
    return f"{plan.design.experiment}-" + digest(
        common
        | {"circumstances": asked.model_dump(exclude={"jobs"}), "device": plan.circumstances.device}
        | {"images": datasets[recipe.data].train.images.shape, "code": code_at_start(root)["code"]}
        | {"torch": torch.__version__}
    )
