"""The harness: one trainer and what it needs. Experiment files take their values from here, notebooks `run`."""

import importlib
from collections.abc import Sequence

from harness.plans.experiment import Experiment, Published
from harness.plans.hyperparameters import SGD, Adam, AdamW, Constant, Cosine, LRFinder, OneCycle, Step
from harness.plans.spec import Circumstances, Data, Model, Recipe, RunSpec, Transform
from harness.plans.tuning import Choice, LogUniform, Tuning, Uniform
from harness.values import SpecError

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Choice",
    "Circumstances",
    "Constant",
    "Cosine",
    "Data",
    "Experiment",
    "LRFinder",
    "LogUniform",
    "Model",
    "OneCycle",
    "Published",
    "Recipe",
    "RunSpec",
    "SpecError",
    "Step",
    "Transform",
    "Tuning",
    "Uniform",
    "run",
]


def run(
    experiment: str,
    *,
    data: str = "",
    seeds: int | Sequence[int] | None = None,
    variants: Sequence[str] = (),
    changes: str = "",
) -> int:
    """Make every run of an experiment that is not made yet: `make run` without its report. Returns its exit status; bad
    input is a line on stderr, and 2.

    Args:
        data: another data set's name.
        seeds: how many, or which.
        variants: only these.
        changes: as SET has them, `field=value ...`, for every variant.
    """
    program = importlib.import_module("harness.__main__")  # with it torch and MLflow, which no experiment's file needs
    which = "" if seeds is None else str(seeds) if isinstance(seeds, int) else "".join(f"{seed}," for seed in seeds)
    options = [f"--data={data}", f"--seeds={which}", f"--variants={','.join(variants)}", f"--set={changes}"]
    return program.main(["run", *options, "--", experiment])
