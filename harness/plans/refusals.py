"""Refuse experiments whose runs could not be compared or made, before any data is read."""

from collections.abc import Mapping
from typing import Any

from harness.plans.differences import differences, within
from harness.plans.experiment import Experiment
from harness.plans.search import refuse_untunable
from harness.plans.spec import Circumstances, Recipe
from harness.values import SpecError, flatten, nearest


def refuse(
    experiment: Experiment, changes: Mapping[str, Any], recipes: Mapping[str, Recipe], circumstances: Circumstances
) -> None:
    """Check every rule that involves several recipes, or a recipe together with the rest of the experiment.

    Args:
        changes: dotted field → value from the command line.
        recipes: variant → its recipe, as it will be run.

    Raises:
        SpecError: a variant differs from the others in more than the factor, or in nothing; the factor is not a field;
            the primary metric is not measured; or the LR range test or the tuning cannot be carried out.
    """
    _refuse_stacked_search(recipes, circumstances)
    _refuse_duplicates(experiment, recipes)
    _refuse_unknown_factor(experiment, recipes)
    _refuse_other_differences(experiment, recipes)
    _refuse_unmeasured(experiment, recipes)
    _refuse_held_out(experiment, recipes)
    refuse_untunable(experiment, changes, recipes)


def refuse_factor_overrides(experiment: Experiment, changes: Mapping[str, Any]) -> None:
    """Check that the command line does not change a field in which the variants differ.

    Raises:
        SpecError: it does.
    """
    set_by_variants = {field for differing in experiment.variants.values() for field in differing}
    for field in changes:
        if any(within(field, [own]) or within(own, [field]) for own in set_by_variants):
            raise SpecError(
                f"`{field}` is what the variants of {experiment.name!r} differ in; choose among them with VARIANTS="
                f"{','.join(experiment.variants)}"
            )


def _refuse_unknown_factor(experiment: Experiment, recipes: Mapping[str, Recipe]) -> None:
    fields = {field for recipe in recipes.values() for field in flatten(recipe)}
    fields |= {field for differing in experiment.variants.values() for field in differing}
    for field in experiment.factor:
        if not any(within(each, [field]) for each in fields):
            raise SpecError(
                f"`factor` must name fields of the recipe; {field!r} is none{nearest(field, fields)} (experiment "
                f"{experiment.name!r})"
            )


def _refuse_duplicates(experiment: Experiment, recipes: Mapping[str, Recipe]) -> None:
    seen: dict[str, str] = {}
    for name, recipe in recipes.items():
        other = seen.setdefault(recipe.model_dump_json(), name)
        if other != name:
            raise SpecError(
                f"`variants` must differ from each other; {other!r} and {name!r} of {experiment.name!r} ask for the "
                "same recipe: remove one"
            )


def _refuse_other_differences(experiment: Experiment, recipes: Mapping[str, Recipe]) -> None:
    for field, values in differences(recipes).items():
        if not within(field, experiment.factor):
            shown = ", ".join(f"{name}: {value!r}" for name, value in values.items())
            parent = field.rpartition(".")[0]
            beside = parent and any(within(each, [parent]) for each in experiment.factor)
            raise SpecError(
                f"`{field}` differs between variants ({shown}) but the factor of {experiment.name!r} is "
                f"{', '.join(experiment.factor) or 'nothing'}; "
                + (f"'{parent}' as factor covers both" if beside else "declare it in `factor` or make it equal")
            )


def _refuse_stacked_search(recipes: Mapping[str, Recipe], circumstances: Circumstances) -> None:
    for name, recipe in recipes.items():
        each = recipe.lr_finder is not None and recipe.lr_finder.each_run
        if recipe.optimizer.lr == "find" and each and circumstances.step == "stacked":
            raise SpecError(
                f"`step` 'stacked' takes one rate for all seeds, and lr_finder.each_run is true (variant {name!r}); "
                "set lr_finder.each_run=false, or give optimizer.lr a number"
            )


def _refuse_unmeasured(experiment: Experiment, recipes: Mapping[str, Recipe]) -> None:
    if experiment.primary_metric == "validation_accuracy":
        for name, recipe in recipes.items():
            if not recipe.data.validation_fraction:
                raise SpecError(
                    f"`data.validation_fraction` must be above 0, as primary_metric is 'validation_accuracy'; got 0 "
                    f"(experiment {experiment.name!r}, variant {name!r})"
                )


def _refuse_held_out(experiment: Experiment, recipes: Mapping[str, Recipe]) -> None:
    for name, recipe in recipes.items():
        if recipe.data.scored_on != "test":
            raise SpecError(
                f"`data.scored_on` must be 'test', as 'held_out' is for the trials of a tuning alone; got "
                f"{recipe.data.scored_on!r} (experiment {experiment.name!r}, variant {name!r})"
            )
