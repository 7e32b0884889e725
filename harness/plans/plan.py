"""Turn an experiment into its runs: which variants, which seeds, under which circumstances. Imports no torch.

`plan` is the only way from an `Experiment` to `RunSpec`s: it applies the command line's overrides, resolves "auto" for
this machine, and refuses variants that differ in more than the declared factor. `on_images` adds the images' checksums
and the models' default options, once the images have been read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.environment import Machine
from harness.plans import overrides
from harness.plans.differences import differences
from harness.plans.experiment import Design, Experiment
from harness.plans.refusals import refuse, refuse_factor_overrides
from harness.plans.spec import Circumstances, Data, Model, Recipe, RunSpec
from harness.plans.tuning import Tuned, Tuning
from harness.values import SpecError, flatten, nearest


@dataclass(frozen=True)
class Plan:
    """An experiment's design and its runs, ordered by seed: all variants of one seed before the next seed."""

    design: Design
    runs: tuple[RunSpec, ...]
    circumstances: Circumstances
    """The same for all runs; `step` may still be "auto"."""
    declared: tuple[RunSpec, ...] = ()
    """One run of every declared variant, with the first declared seed, including variants that were not requested."""
    tune: Tuning | None = None
    """Hyperparameters to tune before these runs are made."""
    tuned: Tuned | None = None
    """The trials that the recipes' tuned values come from; None before tuning."""

    @property
    def recipes(self) -> dict[str, Recipe]:
        """Variant → its recipe, for the variants that were requested."""
        return {spec.variant: spec.recipe for spec in self.runs}

    @property
    def all_recipes(self) -> dict[str, Recipe]:
        """Variant → its recipe, for all declared variants."""
        return {spec.variant: spec.recipe for spec in (*self.declared, *self.runs)}


def plan(
    experiment: Experiment,
    machine: Machine,
    *,
    data: str | None = None,
    seeds: int | Sequence[int] | None = None,
    variants: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
    looks: Sequence[int] = (),
) -> Plan:
    """Plan the runs of an experiment.

    Args:
        machine: what "auto" is resolved for.
        data: name of another data set to use.
        seeds: which seeds; or how many: the declared seeds first, then the integers that follow the largest of them.
        variants: plan only these, in this order; empty plans all.
        changes: dotted field → value, for every variant.
        looks: numbers of seeds at which the results will be looked at; the last one is the largest number of seeds.

    Raises:
        SpecError: an unknown variant, an override of the factor, a variant that differs in more than the factor, a
            primary metric that is not measured, or a factor that is not a field.
    """
    changes = dict(changes or {}) | ({"data.name": data} if data else {})
    around = {name: value for name, value in changes.items() if name in Circumstances.model_fields}
    changes = {name: value for name, value in changes.items() if name not in around}
    refuse_factor_overrides(experiment, changes)
    base = overrides.apply(experiment.base, changes)
    recipes = {name: resolve(_variant(experiment, name, base), machine) for name in experiment.variants}
    circumstances = settle(overrides.around(experiment.circumstances, around), machine)
    refuse(experiment, changes, recipes, circumstances)
    chosen = _choose(experiment, variants)
    used_seeds = _seeds(experiment, looks[-1] if looks else seeds)
    if looks and experiment.baseline not in chosen:
        raise SpecError(f"VARIANTS must hold the baseline {experiment.baseline!r} where UNTIL=decided is given")
    design = Design(
        experiment=experiment.name,
        question=experiment.question,
        factor=experiment.factor,
        baseline=experiment.baseline,
        seeds=used_seeds,
        variants=tuple(experiment.variants),
        primary_metric=experiment.primary_metric,
        smallest_difference_points=experiment.smallest_difference_points,
        published=experiment.published,
        changed=_changed(experiment.base, base, machine),
        compare=experiment.compare,
        expected=experiment.expected,
        looks=tuple(looks),
        max_seeds=looks[-1] if looks else None,
        cells=experiment.cells,
        tuned=tuple(experiment.tune.space) if experiment.tune else (),
    )

    def run(variant: str, seed: int) -> RunSpec:
        return RunSpec(experiment=experiment.name, variant=variant, seed=seed, recipe=recipes[variant])

    runs = tuple(run(name, seed) for seed in used_seeds for name in chosen)
    declared = tuple(run(name, experiment.seeds[0]) for name in experiment.variants)
    return Plan(design, runs, circumstances, declared, experiment.tune)


def resolve(recipe: Recipe, machine: Machine) -> Recipe:
    """The recipe with precision "auto" replaced: bf16 if the device computes it in hardware, else fp32."""
    precision = ("bf16" if machine.bf16 else "fp32") if recipe.precision == "auto" else recipe.precision
    return recipe.model_copy(update={"precision": precision})


def settle(circumstances: Circumstances, machine: Machine) -> Circumstances:
    """The circumstances with device, threads and memory_format resolved for this machine.

    `augment_backend` stays "auto" until the transforms are known, `step` until it is measured.
    """
    device = machine.device if circumstances.device == "auto" else circumstances.device
    by_device = "contiguous" if device == "mps" else "channels_last"
    return circumstances.model_copy(
        update={
            "device": device,
            "threads": machine.threads if circumstances.threads == "auto" else circumstances.threads,
            "memory_format": by_device if circumstances.memory_format == "auto" else circumstances.memory_format,
        }
    )


def on_images(plan: Plan, checksums: Mapping[Data, str], models: Mapping[str, Model]) -> Plan:
    """The plan with the images' checksums and all model options filled in, as its runs will be recorded.

    Args:
        checksums: data set → checksum of its content.
        models: variant → its model with all options.
    """

    def complete(spec: RunSpec) -> RunSpec:
        recipe = spec.recipe.model_copy(update={"model": models[spec.variant]})
        return spec.model_copy(update={"recipe": recipe, "images": checksums[recipe.data]})

    return replace(plan, runs=tuple(map(complete, plan.runs)), declared=tuple(map(complete, plan.declared)))


def with_values(plan: Plan, values: Mapping[str, Mapping[str, Any]]) -> Plan:
    """The plan with some recipe fields replaced.

    Args:
        values: variant → dotted field → value.
    """

    def settled(spec: RunSpec) -> RunSpec:
        if not values.get(spec.variant):
            return spec
        return spec.model_copy(update={"recipe": overrides.apply(spec.recipe, values[spec.variant])})

    return replace(plan, runs=tuple(map(settled, plan.runs)), declared=tuple(map(settled, plan.declared)))


def with_rates(plan: Plan, rates: Mapping[str, float]) -> Plan:
    """The plan with these peak learning rates: variant → optimizer.lr."""
    return with_values(plan, {variant: {"optimizer.lr": rate} for variant, rate in rates.items()})


def together(plan: Plan) -> list[list[RunSpec]]:
    """The plan's runs in groups that train together: one run each, or all seeds of a variant if the step is stacked."""
    stacked, groups = plan.circumstances.step == "stacked", dict[str, list[RunSpec]]()
    for spec in plan.runs:
        groups.setdefault(spec.variant if stacked else spec.key, []).append(spec)
    return list(groups.values())


def steps_per_epoch(train_images: int, batch_size: int) -> int:
    """Batches per epoch, including a shorter last one: 98 for 50,000 images in batches of 512."""
    return -(-train_images // batch_size)


def _changed(declared: Recipe, used: Recipe, machine: Machine) -> dict[str, tuple[Any, Any]]:
    """Field → (value in the experiment's file, value used), for fields that the command line changed."""
    said = flatten(declared)
    found = differences({"declared": resolve(declared, machine), "used": resolve(used, machine)})
    found.pop("data.title", None)
    return {field: (said.get(field), values["used"]) for field, values in found.items()}


def _variant(experiment: Experiment, name: str, base: Recipe) -> Recipe:
    try:
        return overrides.apply(base, experiment.variants[name])
    except SpecError as error:
        raise SpecError(f"{error} (experiment {experiment.name!r}, variant {name!r})") from error


def _choose(experiment: Experiment, variants: Sequence[str]) -> tuple[str, ...]:
    for name in variants:
        if name not in experiment.variants:
            hint = nearest(name, experiment.variants) or f"; it has {', '.join(experiment.variants)}"
            raise SpecError(
                f"VARIANTS must be variants of {experiment.name!r}, separated by commas; got {name!r}{hint}"
            )
    return tuple(dict.fromkeys(variants)) or tuple(experiment.variants)


def _seeds(experiment: Experiment, asked: int | Sequence[int] | None) -> tuple[int, ...]:
    if asked is None:
        return experiment.seeds
    if not isinstance(asked, int):
        if not asked or len(set(asked)) != len(asked) or max(asked) >= 2**31:
            got = ",".join(map(str, asked)) or "none"
            raise SpecError(f"SEEDS must be different numbers below 2147483648; got {got}")
        return tuple(asked)
    count = asked
    if not 1 <= count <= 1000:
        raise SpecError(f"SEEDS must be 1..1000; got {count}")
    further = range(max(experiment.seeds) + 1, max(experiment.seeds) + 1 + count)
    chosen = (*experiment.seeds, *further)[:count]
    if max(chosen) >= 2**31:
        raise SpecError(f"seeds must be below 2147483648; SEEDS={count} goes on to {max(chosen)}; declare smaller ones")
    return chosen
