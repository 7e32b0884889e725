"""Check models, data, batch sizes and schedules of a plan before the first run starts."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

import models
from harness.augmentation import source
from harness.data.load import Dataset, load
from harness.evidence import metrics
from harness.plans.plan import Plan, on_images, steps_per_epoch
from harness.plans.spec import Data, Recipe
from harness.training.build import complete_model, model_options
from harness.training.device import detect
from harness.training.optimizers import check_schedule
from harness.values import SpecError


def check(plan: Plan, root: Path) -> tuple[Plan, dict[Data, Dataset]]:
    """Load the data sets, check every recipe against them, and complete the plan.

    Returns:
        The plan with the images' checksums and all model options filled in, and the loaded data sets.

    Raises:
        HarnessError: a device, model, option, transform, data set, batch size or schedule cannot be used, or the
            variants' test images differ.
    """
    detect(plan.circumstances.device)
    primary = plan.design.primary_metric
    datasets: dict[Data, Dataset] = {}
    for recipe in plan.all_recipes.values():
        _check_model(recipe.model.name, recipe.model.options)
        if recipe.data not in datasets:
            datasets[recipe.data] = load(recipe.data, root)
        _check_recipe(recipe, datasets[recipe.data])
        _check_metric(primary, datasets[recipe.data])
    _check_same_test_images(plan, datasets)
    chosen = {variant: complete_model(recipe, datasets[recipe.data]) for variant, recipe in plan.all_recipes.items()}
    return on_images(plan, {data: dataset.checksum for data, dataset in datasets.items()}, chosen), datasets


def _check_recipe(recipe: Recipe, dataset: Dataset) -> None:
    _check_model(recipe.model.name, model_options(recipe, dataset))
    source.check(recipe.augmentation, dataset.height, dataset.width, dataset.channels)
    images = len(dataset.train.labels)
    if recipe.batch_size > images:
        raise SpecError(
            f"`batch_size` must be 1..{images}, the training images of {dataset.label!r}; got {recipe.batch_size}"
        )
    if images % recipe.batch_size == 1 and recipe.batch_size > 1:  # batch norm cannot normalise a single image
        raise SpecError(
            f"`batch_size` must not leave a last batch of one image; {recipe.batch_size} does, of {images} training "
            f"images: take {recipe.batch_size - 1} or {recipe.batch_size + 1}"
        )
    check_schedule(recipe.schedule, recipe.epochs * steps_per_epoch(images, recipe.batch_size))


def _check_metric(primary: str, dataset: Dataset) -> None:
    metric, classes = metrics.of_primary(primary), len(dataset.classes)
    least = metric.least_classes
    if classes < least:
        raise SpecError(
            f"`primary_metric` {primary!r} says nothing below {least} classes; {dataset.label!r} has {classes}: take "
            "another"
        )
    if problem := metric.problem(classes):
        raise SpecError(f"`primary_metric` {primary!r}: {problem}")


def _check_model(name: str, options: Mapping[str, object]) -> None:
    try:
        models.check(name, options)
    except models.ModelError as error:
        raise SpecError(str(error).replace("`model.image_size`", "`data.image_size`")) from error


def _check_same_test_images(plan: Plan, datasets: Mapping[Data, Dataset]) -> None:
    """Check that all variants have the same test images, because runs are compared image by image.

    Images at different sizes count as the same if their labels and classes agree.
    """
    sets = {variant: datasets[recipe.data] for variant, recipe in plan.all_recipes.items()}
    first, reference = next(iter(sets.items()))
    for variant, other in sets.items():
        same = np.array_equal(reference.test.labels, other.test.labels) and reference.classes == other.classes
        if reference.test.images.shape == other.test.images.shape:
            same = same and np.array_equal(reference.test.images, other.test.images)
        if not same:
            raise SpecError(
                f"`data.name` must give all variants the same test images; those of {variant!r} ({other.label!r}) are "
                f"not those of {first!r} ({reference.label!r}): compare data sets in separate experiments"
            )
