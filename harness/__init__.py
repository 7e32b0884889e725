"""Train image classifiers and record the runs. Experiment files import their values from here, notebooks `run`."""

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
    """Make every run of an experiment that has not been made yet, like `make run` but without the report.

    Args:
        experiment: name of a file in `experiments/`.
        data: use this data set instead of the experiment's own.
        seeds: how many seeds, or which ones; None uses those of the experiment.
        variants: make only these; empty makes all.
        changes: `field=value ...` for every variant, as in SET=.

    Returns:
        The command's exit status: 0 on success, 2 for bad input, which is explained in one line on stderr.
    """
    program = importlib.import_module("harness.__main__")  # imports torch and MLflow, not needed by experiments
    which = "" if seeds is None else str(seeds) if isinstance(seeds, int) else "".join(f"{seed}," for seed in seeds)
    options = [f"--data={data}", f"--seeds={which}", f"--variants={','.join(variants)}", f"--set={changes}"]
    return program.main(["run", *options, "--", experiment])
