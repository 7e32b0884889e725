"""From an experiment to its runs: what differs from what, which seeds, how many steps. Pure; knows no torch.

`plan` is the only way from an `Experiment` to `RunSpec`s: it applies the command line's overrides, settles every
"auto" for the machine at hand and refuses variants that differ in more than the declared factor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.plans import overrides
from harness.plans.spec import Design, Experiment, Recipe, RunSpec, VariantDesign
from harness.values import SpecError, digest, flatten, nearest


@dataclass(frozen=True)
class Machine:
    """What "auto" resolves to: a torch device name, whether it computes bf16 in hardware, and CPU threads."""

    device: str
    bf16: bool
    threads: int


@dataclass(frozen=True)
class Plan:
    """An experiment's runs, seed by seed (all variants of one seed before the next), and the design they answer."""

    design: Design
    runs: tuple[RunSpec, ...]


def plan(
    experiment: Experiment,
    machine: Machine,
    *,
    data: str | None = None,
    seeds: int | None = None,
    variants: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> Plan:
    """The runs that an experiment asks for.

    Args:
        data: another data set's name; its classes, channels and statistics follow.
        seeds: how many; the declared ones first, then the integers that follow them.
        variants: only these, in this order; all when empty.
        changes: dotted field → value, for every variant.

    Raises:
        SpecError: an unknown variant, an override of the factor, a variant that differs in more than the factor, a
            primary metric that is not measured.
    """
    changes = dict(changes or {}) | ({"data.name": data} if data else {})
    _refuse_factor_overrides(experiment, changes)
    base = overrides.apply(experiment.base, changes)
    recipes = {name: resolve(_variant(experiment, name, base), machine) for name in experiment.variants}
    _refuse_other_differences(experiment, recipes)
    _refuse_unmeasured(experiment, recipes)
    chosen = _choose(experiment, variants)
    used_seeds = _seeds(experiment, seeds)
    design = Design(
        experiment=experiment.name,
        question=experiment.question,
        factor=experiment.factor,
        baseline=experiment.baseline if experiment.baseline in chosen else chosen[0],
        seeds=used_seeds,
        variants=tuple(VariantDesign(name=name, recipe_digest=digest(recipes[name])) for name in chosen),
        primary_metric=experiment.primary_metric,
        smallest_difference_points=experiment.smallest_difference_points,
        published=tuple(p for p in experiment.published if p.variant in chosen),
        changed=_changed(experiment.base, base, machine),
    )
    runs = tuple(
        RunSpec(experiment=experiment.name, variant=name, seed=seed, recipe=recipes[name])
        for seed in used_seeds
        for name in chosen
    )
    return Plan(design, runs)


def resolve(recipe: Recipe, machine: Machine) -> Recipe:
    """The recipe with every "auto" settled for this machine, but two: the pipeline decides on the augmentation's
    backend, a measurement on the form of the step (`with_step`)."""
    device = machine.device if recipe.device == "auto" else recipe.device
    settled = {
        "device": device,
        "threads": machine.threads if recipe.threads == "auto" else recipe.threads,
        "precision": ("bf16" if machine.bf16 else "fp32") if recipe.precision == "auto" else recipe.precision,
        "memory_format": recipe.memory_format
        if recipe.memory_format != "auto"
        else ("contiguous" if device == "mps" else "channels_last"),
    }
    return recipe.model_copy(update=settled)


def with_step(plan: Plan, step: str) -> Plan:
    """The plan with this form of the step in every recipe that leaves it open."""
    settled = [
        spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"step": step})})
        if spec.recipe.step == "auto"
        else spec
        for spec in plan.runs
    ]
    digests = {spec.variant: digest(spec.recipe) for spec in settled}
    variants = tuple(VariantDesign(name=v.name, recipe_digest=digests[v.name]) for v in plan.design.variants)
    return Plan(plan.design.model_copy(update={"variants": variants}), tuple(settled))


def together(plan: Plan) -> list[list[RunSpec]]:
    """The plan's runs in order, each alone, but that all seeds of a variant whose step is fused train as one."""
    groups: dict[str, list[RunSpec]] = {}
    for spec in plan.runs:
        groups.setdefault(spec.variant if spec.recipe.step == "fused" else spec.key, []).append(spec)
    return list(groups.values())


def steps_per_epoch(train_images: int, batch_size: int) -> int:
    """Batches an epoch, the last, short one counted: 98 for 50,000 images in batches of 512."""
    return -(-train_images // batch_size)


def differences(recipes: Mapping[str, Recipe]) -> dict[str, dict[str, Any]]:
    """Dotted field → {variant: value} for the fields on which recipes do not all agree; absent fields are None."""
    flat = {name: flatten(recipe) for name, recipe in recipes.items()}
    fields = dict.fromkeys(field for values in flat.values() for field in values)
    table = {field: {name: values.get(field) for name, values in flat.items()} for field in fields}
    return {field: values for field, values in table.items() if len({repr(v) for v in values.values()}) > 1}


def _changed(declared: Recipe, used: Recipe, machine: Machine) -> dict[str, tuple[Any, Any]]:
    """Field → what the file says and what is used, where that is not what the file comes to on this machine."""
    said = flatten(declared)
    found = differences({"declared": resolve(declared, machine), "used": resolve(used, machine)})
    return {field: (said.get(field), values["used"]) for field, values in found.items()}


def within(field: str, parents: Sequence[str]) -> bool:
    """Whether a dotted field is one of `parents` or lies below one."""
    return any(field == parent or field.startswith(parent + ".") for parent in parents)


def _variant(experiment: Experiment, name: str, base: Recipe) -> Recipe:
    try:
        return overrides.apply(base, experiment.variants[name])
    except SpecError as error:
        raise SpecError(f"{error} (experiment {experiment.name!r}, variant {name!r})") from error


def _refuse_factor_overrides(experiment: Experiment, changes: Mapping[str, Any]) -> None:
    set_by_variants = {field for differing in experiment.variants.values() for field in differing}
    for field in changes:
        if any(within(field, [own]) or within(own, [field]) for own in set_by_variants):
            raise SpecError(
                f"`{field}` is what the variants of {experiment.name!r} differ in; choose among them with VARIANTS="
                f"{','.join(experiment.variants)}"
            )


def _refuse_other_differences(experiment: Experiment, recipes: Mapping[str, Recipe]) -> None:
    for field, values in differences(recipes).items():
        if not within(field, experiment.factor):
            shown = ", ".join(f"{name}: {value!r}" for name, value in values.items())
            raise SpecError(
                f"`{field}` differs between variants ({shown}) but the factor of {experiment.name!r} is "
                f"{', '.join(experiment.factor) or 'nothing'}; declare it in `factor` or make it equal"
            )


def _refuse_unmeasured(experiment: Experiment, recipes: Mapping[str, Recipe]) -> None:
    if experiment.primary_metric == "validation_accuracy":
        for name, recipe in recipes.items():
            if not recipe.data.validation_fraction:
                raise SpecError(
                    f"`data.validation_fraction` must be above 0, as primary_metric is 'validation_accuracy'; got 0 "
                    f"(experiment {experiment.name!r}, variant {name!r})"
                )


def _choose(experiment: Experiment, variants: Sequence[str]) -> tuple[str, ...]:
    for name in variants:
        if name not in experiment.variants:
            hint = nearest(name, experiment.variants) or f"; it has {', '.join(experiment.variants)}"
            raise SpecError(f"{name!r} is not a variant of {experiment.name!r}{hint}")
    return tuple(dict.fromkeys(variants)) or tuple(experiment.variants)


def _seeds(experiment: Experiment, count: int | None) -> tuple[int, ...]:
    if count is None:
        return experiment.seeds
    if not 1 <= count <= 1000:
        raise SpecError(f"SEEDS must be 1..1000; got {count}")
    further = range(max(experiment.seeds) + 1, max(experiment.seeds) + 1 + count)
    chosen = (*experiment.seeds, *further)[:count]
    if max(chosen) >= 2**31:
        raise SpecError(f"seeds must be below 2147483648; SEEDS={count} goes on to {max(chosen)}; declare smaller ones")
    return chosen
