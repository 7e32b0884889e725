"""Forecast the duration and disk usage of a run by timing two short runs of its recipe, which are then deleted.

A short run does everything that a real one does: augmentation, steps, evaluation, figures and files. The first, of a
few steps, absorbs one-time costs and determines how many steps the second needs to be timed accurately.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from harness.data.load import Dataset
from harness.data.split import Split
from harness.execution.run import run
from harness.plans.plan import Plan, steps_per_epoch
from harness.plans.spec import Circumstances, Recipe, RunSpec
from harness.records.events import EpochDone, Failed
from harness.training.build import device_data
from harness.values import HarnessError

EPOCHS = 4
"""Epochs of a short run; all but the first are timed, and their median is used."""
_TIMED_SECONDS = 1.0
"""Training time of an epoch in the second short run; longer if two steps take longer."""
_FIRST_STEPS = 2
_TEST_IMAGES = 500
_CHOSEN_LR = 1e-3
"""Learning rate used in place of an LR range test, whose steps are counted but not made."""
DELIVERY_SECONDS = 0.3
"""Time to record a run in MLflow's SQLite file: 0.21 to 0.34 s for 24 epochs of 98 steps, measured by
`make bench-growth` on two idle cores of an AMD EPYC. A server may take longer."""


@dataclass(frozen=True)
class Forecast:
    """The forecast of one run."""

    step_seconds: float
    evaluate_seconds: float
    """Time to evaluate all images that are scored after an epoch."""
    other_seconds: float
    """Time before the first step and after the last one: building the model, figures, files, delivery."""
    steps: int
    """Steps of the whole run, including those of its LR range test."""
    epochs: int
    bytes: int

    @property
    def seconds(self) -> float:
        return self.steps * self.step_seconds + self.epochs * self.evaluate_seconds + self.other_seconds


def forecast(spec: RunSpec, plan: Plan, dataset: Dataset, workers: int) -> Forecast:
    """Forecast a run by making two short runs of its recipe in a temporary folder.

    Raises:
        HarnessError: a short run fails.
    """
    around = plan.circumstances
    if around.step == "stacked":  # stacked seeds share steps, so this is an upper bound
        around = around.model_copy(update={"step": "eager"})
    first = _short(spec, plan, around, dataset, _FIRST_STEPS, workers)
    recipe, images = spec.recipe, len(dataset.train.labels)
    per_epoch = steps_per_epoch(images, recipe.batch_size)
    wanted = round(_TIMED_SECONDS / max(first.step_seconds, 1e-6))
    timed = _short(spec, plan, around, dataset, max(_FIRST_STEPS, min(wanted, per_epoch)), workers)
    evaluated = len(dataset.test.labels) + (len(dataset.validation.labels) if dataset.validation else 0)
    return Forecast(
        step_seconds=timed.step_seconds,
        evaluate_seconds=timed.evaluate_seconds_an_image * evaluated,
        other_seconds=timed.other_seconds + DELIVERY_SECONDS,
        steps=recipe.epochs * per_epoch + _range_test(recipe),
        epochs=recipe.epochs,
        bytes=timed.bytes,
    )


@dataclass(frozen=True)
class _Timed:
    step_seconds: float
    evaluate_seconds_an_image: float
    other_seconds: float
    bytes: int


def _short(spec: RunSpec, plan: Plan, around: Circumstances, dataset: Dataset, steps: int, workers: int) -> _Timed:
    """Make a run of EPOCHS epochs with `steps` steps each and time all but the first epoch."""
    data = _part(dataset, steps * spec.recipe.batch_size)
    optimizer = spec.recipe.optimizer
    if optimizer.lr == "find":
        optimizer = optimizer.model_copy(update={"lr": _CHOSEN_LR})
    recipe = spec.recipe.model_copy(update={"epochs": EPOCHS, "optimizer": optimizer, "lr_finder": None})
    short = spec.model_copy(update={"recipe": recipe})
    with tempfile.TemporaryDirectory(prefix="harness-plan-") as root:
        clock = time.perf_counter()
        made = run(
            [short],
            around,
            plan.design,
            device_data(data, around.device),
            Path(root),
            lambda: False,
            workers,
        )
        events = [event for _, event in made]
        took = time.perf_counter() - clock
        size = sum(path.stat().st_size for path in Path(root).rglob("*") if path.is_file())
    if failed := next((event for event in events if isinstance(event, Failed)), None):
        raise HarnessError(f"{spec.variant} cannot be timed: {failed.error}")
    epochs = [event for event in events if isinstance(event, EpochDone)]
    if len(epochs) < EPOCHS:  # it diverged
        raise HarnessError(f"{spec.variant} cannot be timed: its loss is not finite within {EPOCHS * steps} steps")
    spent = sum(each.train_seconds + each.evaluate_seconds for each in epochs)
    step = statistics.median(each.train_seconds for each in epochs[1:]) / steps
    per_image = statistics.median(each.evaluate_seconds for each in epochs[1:]) / len(data.test.labels)
    return _Timed(step, per_image, took - spent, size)


def _part(dataset: Dataset, train: int) -> Dataset:
    """The data set cut to `train` training images and some test images, evenly spaced: folders are sorted by class."""

    def some(split: Split, count: int) -> Split:
        at = np.linspace(0, len(split.labels) - 1, count).round().astype(np.int64)
        return Split(np.ascontiguousarray(split.images[at]), split.labels[at])

    tested = min(_TEST_IMAGES, len(dataset.test.labels))
    files = dataset.test_files[:tested]
    return replace(
        dataset, train=some(dataset.train, train), test=some(dataset.test, tested), validation=None, test_files=files
    )


def _range_test(recipe: Recipe) -> int:
    """Steps of a run's own LR range test; 0 if one test serves all runs."""
    sweeps = recipe.lr_finder if recipe.optimizer.lr == "find" else None
    return sweeps.iterations if sweeps and sweeps.each_run else 0


def forecasts(plan: Plan, datasets: dict, missing: Sequence[RunSpec], workers: int) -> dict[str, Forecast]:
    """Variant → the forecast of one of its runs, for the variants with missing runs."""
    found: dict[str, Forecast] = {}
    for spec in missing:
        if spec.variant not in found:
            tqdm.write(f"timing a few steps of {spec.variant}")
            found[spec.variant] = forecast(spec, plan, datasets[spec.recipe.data], workers)
    return found
