"""Recipes of tuning trials, and checks that an experiment can be tuned. Does not import Optuna."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from harness.evidence.metrics import VALIDATION
from harness.plans import overrides
from harness.plans.tuning import Choice, Range
from harness.values import Scalar, SpecError

if TYPE_CHECKING:
    from harness.plans.experiment import Experiment
    from harness.plans.spec import Recipe

SUFFIX = "_tuning"


def trials_of(experiment: str) -> str:
    """The experiment name under which the tuning trials of an experiment are recorded."""
    return f"{experiment}{SUFFIX}"


def scored_by(primary_metric: str) -> str:
    """The metric of a trial's own record that stands for the experiment's: its test images are the held-out ones."""
    return VALIDATION if primary_metric == "test_accuracy" else primary_metric


def trial_recipe(recipe: "Recipe", values: Mapping[str, Scalar], fraction: float) -> "Recipe":
    """The recipe of one trial: scored on held-out training images, never on test images.

    Args:
        recipe: the variant's recipe.
        values: dotted field → the trial's value.
        fraction: share of the training images to hold out.

    Raises:
        SpecError: a value breaks its field's rule.
    """
    held_out = {"data.validation_fraction": fraction, "data.scored_on": "held_out"}
    return overrides.apply(recipe, {**values, **held_out})


def ends(span: Range) -> tuple[Scalar, ...]:
    """The values that are checked on behalf of a range: both its ends, or every choice."""
    return span.values if isinstance(span, Choice) else (span.low, span.high)


def refuse_untunable(experiment: "Experiment", changes: Mapping[str, Any], recipes: Mapping[str, "Recipe"]) -> None:
    """Check that every variant can be tuned over the whole space, and that nothing else sets the tuned fields.

    Raises:
        SpecError: a name is too long for a trial's name, a tuned field belongs to the factor or is set by SET=, a value
            breaks its field's rule, or the recipe holds out images or has an LR range test.
    """
    tune = experiment.tune
    if tune is None:
        return
    where = f"(experiment {experiment.name!r})"
    if len(trials_of(experiment.name)) > 64:
        raise SpecError(f"`name` must have at most {64 - len(SUFFIX)} letters where tune is given {where}")
    for name in experiment.variants:
        if len(name) > 64 - len("_t999"):
            raise SpecError(f"`variants` must have shorter names where tune is given; got {name!r} {where}")
    if experiment.primary_metric == VALIDATION:
        raise SpecError(
            f"`primary_metric` must be one of test images where tune is given, as 'test_accuracy': trials alone are "
            f"scored on held-out images; got {VALIDATION!r} {where}"
        )
    for field, span in tune.space.items():
        _refuse_field(experiment, field, changes)
        for value in ends(span):
            _refuse_value(experiment, field, value, recipes)
    for recipe in recipes.values():
        if recipe.data.validation_fraction:
            raise SpecError(
                "`data.validation_fraction` must be 0 where tune is given: trials hold out tune.validation_fraction, "
                f"and the runs that are compared train on all images; got {recipe.data.validation_fraction} {where}"
            )
        if recipe.lr_finder is not None:
            raise SpecError(f"`lr_finder` must be left out where tune is given; tune optimizer.lr instead {where}")


def _refuse_field(experiment: "Experiment", field: str, changes: Mapping[str, Any]) -> None:
    differing = [other for variant in experiment.variants.values() for other in variant]
    if _overlaps(field, [*experiment.factor, *differing]):
        raise SpecError(
            f"`tune.space` must not have what the variants of {experiment.name!r} differ in; {field!r} is part of the "
            "factor: leave it out"
        )
    if _overlaps(field, changes):
        raise SpecError(f"`{field}` is tuned by {experiment.name!r}, so SET cannot give it a value; leave it out")
    if _overlaps(field, ["data", "precision"]):
        raise SpecError(f"`tune.space` must leave images and precision as they are; got {field!r}: leave it out")


def _refuse_value(experiment: "Experiment", field: str, value: Scalar, recipes: Mapping[str, "Recipe"]) -> None:
    for name, recipe in recipes.items():
        try:
            overrides.apply(recipe, {field: value})
        except SpecError as error:
            raise SpecError(f"{error} (tune.space of {experiment.name!r}, variant {name!r})") from error


def _overlaps(field: str, others: Iterable[str]) -> bool:
    return any(field == other or field.startswith(f"{other}.") or other.startswith(f"{field}.") for other in others)
