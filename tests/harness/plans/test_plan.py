"""Plans: which runs an experiment is, which seeds, what may differ, and that nothing "auto" is left."""

from typing import Any

import pytest

from harness.environment import Machine
from harness.plans.differences import within
from harness.plans.experiment import Design, Experiment, Published
from harness.plans.hyperparameters import SGD
from harness.plans.plan import (
    Plan,
    differences,
    on_images,
    plan,
    resolve,
    settle,
    steps_per_epoch,
    together,
)
from harness.plans.spec import Circumstances, Data, Model, Recipe
from harness.values import SpecError, flatten

CPU = Machine("cpu", bf16=True, threads=2)
BASE = Recipe(
    data=Data(name="cifar10", mean=(0.5,), std=(0.2,)),
    model=Model(name="norm_cnn", norm="batch"),
    optimizer=SGD(lr=0.1),
    epochs=5,
)
EXPERIMENT = Experiment(
    name="norms",
    question="Which norm?",
    base=BASE,
    variants={"batch": {}, "group": {"model.norm": "group"}, "layer": {"model.norm": "layer"}},
    factor=("model.norm",),
    baseline="batch",
    seeds=(3, 7),
    published=(Published(variant="group", test_accuracy_percent=74.18, source="seed 002"),),
)


def _with(**changes: Any) -> Experiment:
    return Experiment(**dict(EXPERIMENT) | changes)


def _pairs(planned: Plan) -> list[tuple[int, str]]:
    return [(spec.seed, spec.variant) for spec in planned.runs]


def test_every_variant_gets_the_same_seeds() -> None:
    """Differences are paired by seed: all variants of one seed are made before the next begins."""
    planned = plan(EXPERIMENT, CPU)
    assert _pairs(planned) == [(seed, variant) for seed in (3, 7) for variant in ("batch", "group", "layer")]
    assert planned.design.seeds == (3, 7)


def test_the_design_is_what_was_declared() -> None:
    """Question, baseline, every variant and published results; each run has a key of its own."""
    planned = plan(EXPERIMENT, CPU)
    design = planned.design
    assert (design.experiment, design.question, design.baseline) == ("norms", "Which norm?", "batch")
    assert design.published == EXPERIMENT.published
    assert design.variants == ("batch", "group", "layer")
    assert len({spec.key for spec in planned.runs}) == 6


def test_the_design_tells_what_the_command_line_changed() -> None:
    """And nothing that it gave the value which the file has, no circumstance, and not what reports call the images."""
    assert plan(EXPERIMENT, CPU, seeds=5).design.changed == {}
    for changes in ({"threads": 7}, {"data.title": "CIFAR"}, {"precision": "bf16"}):
        assert plan(EXPERIMENT, CPU, changes=changes).design.changed == {}
    changes = {"epochs": 2, "optimizer.lr": 0.1, "clip_norm": 1.0}
    design = plan(EXPERIMENT, CPU, data="folder:images", changes=changes).design
    assert design.changed == {
        "data.name": ("cifar10", "folder:images"),
        "data.mean": ([0.5], None),
        "data.std": ([0.2], None),
        "epochs": (5, 2),
        "clip_norm": (None, 1.0),
    }
    assert Design.model_validate_json(design.model_dump_json()) == design


@pytest.mark.parametrize(
    ("asked", "seeds"), [(None, (3, 7)), (1, (3,)), (2, (3, 7)), (5, (3, 7, 8, 9, 10))]
)  # fmt: skip
def test_more_seeds_follow_the_declared_ones(asked: int | None, seeds: tuple[int, ...]) -> None:
    """SEEDS=5 keeps the runs that SEEDS=2 made."""
    assert plan(EXPERIMENT, CPU, seeds=asked).design.seeds == seeds


@pytest.mark.parametrize("asked", [0, -1, 1001])
def test_a_number_of_seeds_out_of_range_is_refused(asked: int) -> None:
    """No seeds is no experiment, and a thousand is a slip."""
    with pytest.raises(SpecError, match=rf"^SEEDS must be 1\.\.1000; got {asked}$"):
        plan(EXPERIMENT, CPU, seeds=asked)


def test_seeds_end_where_random_generators_do() -> None:
    """More than were declared go on upwards, and not beyond what a seed can be."""
    highest = _with(seeds=(2**31 - 2,))
    assert {spec.seed for spec in plan(highest, CPU, seeds=2).runs} == {2**31 - 2, 2**31 - 1}
    rule = r"^seeds must be below 2147483648; SEEDS=3 goes on to 2147483648; declare smaller ones$"
    with pytest.raises(SpecError, match=rule):
        plan(highest, CPU, seeds=3)


def test_stacked_seeds_of_a_variant_are_made_together() -> None:
    """In the plan's order; any other form of the step leaves every run alone."""
    alone = plan(EXPERIMENT, CPU, seeds=2)
    assert together(alone) == [[spec] for spec in alone.runs]
    stacked = plan(EXPERIMENT, CPU, seeds=2, changes={"step": "stacked"})
    assert [[(spec.variant, spec.seed) for spec in specs] for specs in together(stacked)] == [
        [(name, seed) for seed in EXPERIMENT.seeds[:2]] for name in EXPERIMENT.variants
    ]


def test_a_metric_of_images_that_are_not_held_out_is_refused() -> None:
    """Before any run begins, not when its report is written; SET= can put it right."""
    experiment = _with(primary_metric="validation_accuracy")
    with pytest.raises(SpecError) as refused:
        plan(experiment, CPU)
    assert str(refused.value) == (
        "`data.validation_fraction` must be above 0, as primary_metric is 'validation_accuracy'; got 0 "
        "(experiment 'norms', variant 'batch')"
    )
    assert (
        plan(experiment, CPU, changes={"data.validation_fraction": 0.1}).design.primary_metric == "validation_accuracy"
    )


def test_stacked_seeds_need_one_rate() -> None:
    """A rate that each run finds for itself is none for all of them."""
    finding = {"step": "stacked", "optimizer.lr": "find", "lr_finder.iterations": 30}
    assert plan(EXPERIMENT, CPU, changes=finding).circumstances.step == "stacked"
    with pytest.raises(SpecError, match=r"^`step` 'stacked' takes one rate for all seeds, .*, or give optimizer.lr a"):
        plan(EXPERIMENT, CPU, changes=finding | {"lr_finder.each_run": True})


@pytest.mark.parametrize(
    ("factor", "hint"),
    [("model.nrom", "; did you mean 'model.norm' or"), ("environment", ""), ("threads", ""), ("device", "")],
)
def test_a_factor_is_a_field_of_the_recipe(factor: str, hint: str) -> None:
    """Neither a slip, nor the environment, nor a circumstance can be what variants differ in."""
    with pytest.raises(SpecError) as caught:
        plan(_with(factor=("model.norm", factor)), CPU)
    assert str(caught.value).startswith(f"`factor` must name fields of the recipe; {factor!r} is none{hint}")


def test_chosen_variants_leave_the_declared_design() -> None:
    """VARIANTS=layer,group runs those two once each; baseline, family of variants and published results stay as the
    experiment declares them."""
    planned = plan(EXPERIMENT, CPU, variants=["layer", "group", "layer"], seeds=1)
    assert _pairs(planned) == [(3, "layer"), (3, "group")]
    assert planned.design == plan(EXPERIMENT, CPU, seeds=1).design


def test_a_chosen_variant_is_the_same_run_as_among_all() -> None:
    """Leaving variants out does not change the others' keys."""
    assert {spec.key for spec in plan(EXPERIMENT, CPU, variants=["group"]).runs} < {
        spec.key for spec in plan(EXPERIMENT, CPU).runs
    }


@pytest.mark.parametrize(
    ("name", "hint"), [("gruop", "; did you mean 'group'?"), ("zzz", "; it has batch, group, layer")]
)
def test_an_unknown_variant_is_refused(name: str, hint: str) -> None:
    """With the nearest names, or all of them."""
    with pytest.raises(SpecError) as caught:
        plan(EXPERIMENT, CPU, variants=["batch", name])
    assert str(caught.value) == f"VARIANTS must be variants of 'norms', separated by commas; got {name!r}{hint}"


def test_a_variant_that_differs_in_more_than_the_factor_is_refused() -> None:
    """Otherwise its difference would be credited to the factor; the line shows every variant's value."""
    experiment = _with(variants={"batch": {}, "group": {"model.norm": "group", "epochs": 6}})
    with pytest.raises(SpecError) as caught:
        plan(experiment, CPU)
    assert str(caught.value) == (
        "`epochs` differs between variants (batch: 5, group: 6) but the factor of 'norms' is model.norm; declare it in "
        "`factor` or make it equal"
    )
    assert plan(_with(**dict(experiment) | {"factor": ("model.norm", "epochs")}), CPU).runs


def test_a_difference_beside_the_factor_is_pointed_to_what_covers_both() -> None:
    """As of two networks, of which one has an option that the other lacks."""
    variants = {"batch": {}, "group": {"model.norm": "group", "model.dropout": 0.1}}
    with pytest.raises(SpecError, match=r"the factor of 'norms' is model\.norm; 'model' as factor covers both$"):
        plan(_with(variants=variants), CPU)
    assert plan(_with(variants=variants, factor=("model",)), CPU).runs


def test_the_factor_is_guarded_even_when_the_variant_is_not_chosen() -> None:
    """An experiment is refused or not as a whole, whatever part of it is run today."""
    experiment = _with(variants={"batch": {}, "group": {"epochs": 6}})
    with pytest.raises(SpecError, match=r"^`epochs` differs between variants"):
        plan(experiment, CPU, variants=["batch"])


def test_variants_that_ask_the_same_are_refused() -> None:
    """Two names for one recipe would count one comparison twice."""
    with pytest.raises(SpecError) as caught:
        plan(_with(variants={"batch": {}, "same": {"model.norm": "batch"}}, published=()), CPU)
    assert str(caught.value) == (
        "`variants` must differ from each other; 'batch' and 'same' of 'norms' ask for the same recipe: remove one"
    )


def test_a_factor_may_be_a_parent() -> None:
    """factor=("optimizer",) lets variants differ in any of its fields, and in nothing that only begins like it."""
    variants = {"batch": {}, "adam": {"optimizer.name": "adam", "optimizer.lr": 0.01}}
    assert len(plan(_with(variants=variants, factor=("optimizer",), published=()), CPU).runs) == 4
    assert within("optimizer.lr", ["optimizer"])
    assert within("optimizer", ["optimizer"])
    assert not within("optimizers.lr", ["optimizer"])
    assert not within("optimizer", ["optimizer.lr"])


@pytest.mark.parametrize("field", ["model.norm", "model"])
def test_an_override_of_the_factor_is_refused(field: str) -> None:
    """It would make the variants equal, or be undone by them in silence."""
    with pytest.raises(SpecError) as caught:
        plan(EXPERIMENT, CPU, changes={field: "layer"})
    assert str(caught.value) == (
        f"`{field}` is what the variants of 'norms' differ in; choose among them with VARIANTS=batch,group,layer"
    )


def test_a_variant_that_cannot_be_made_is_named() -> None:
    """The rule's line ends with the experiment and the variant it broke in."""
    with pytest.raises(SpecError) as caught:
        plan(_with(variants={"batch": {}, "long": {"epochs": 0}}, factor=("epochs",), published=()), CPU)
    assert str(caught.value) == (
        "`epochs` must be greater than or equal to 1; got 0 (experiment 'norms', variant 'long')"
    )


def test_overrides_reach_every_variant() -> None:
    """SET and DATA change all variants alike; another data set brings its own statistics."""
    planned = plan(EXPERIMENT, CPU, data="digits", changes={"epochs": 2})
    assert {spec.recipe.epochs for spec in planned.runs} == {2}
    assert {(spec.recipe.data.name, spec.recipe.data.mean) for spec in planned.runs} == {("digits", None)}
    assert [spec.recipe.model.options["norm"] for spec in planned.runs[:3]] == ["batch", "group", "layer"]


@pytest.mark.parametrize(
    ("machine", "settled"),
    [
        (CPU, ("cpu", 2, "bf16", "channels_last")),
        (Machine("cpu", bf16=False, threads=8), ("cpu", 8, "fp32", "channels_last")),
        (Machine("cuda", bf16=True, threads=16), ("cuda", 16, "bf16", "channels_last")),
        (Machine("mps", bf16=False, threads=4), ("mps", 4, "fp32", "contiguous")),
    ],
)
def test_auto_is_settled_by_the_machine(machine: Machine, settled: tuple[object, ...]) -> None:
    """bf16 where the hardware has it, channels_last but on MPS, the machine's threads."""
    recipe, here = resolve(BASE, machine), settle(Circumstances(), machine)
    assert (here.device, here.threads, recipe.precision, here.memory_format) == settled


def test_two_fields_are_left_to_decide() -> None:
    """No field of a recipe says "auto", of the circumstances two, until the pipeline and a measurement decide; what was
    given is kept."""
    planned = plan(EXPERIMENT, CPU)
    assert "auto" not in {str(value) for spec in planned.runs for value in flatten(spec.recipe).values()}
    assert [f for f, value in flatten(planned.circumstances).items() if value == "auto"] == ["step", "augment_backend"]
    given = Circumstances(device="cpu", threads=1, memory_format="contiguous", step="eager", augment_backend="batched")
    assert settle(given, Machine("cuda", bf16=True, threads=16)) == given
    assert plan(_with(circumstances=given), CPU, changes={"threads": 3}).circumstances.threads == 3


def test_circumstances_are_no_part_of_a_runs_key() -> None:
    """Another GPU of the machine, other threads, another form of the step or title: the same runs."""
    keys = [spec.key for spec in plan(EXPERIMENT, CPU).runs]
    for changes in ({"device": "cuda:1", "threads": 7, "step": "compiled"}, {"data.title": "CIFAR"}):
        assert [spec.key for spec in plan(EXPERIMENT, CPU, changes=changes).runs] == keys


def test_runs_are_completed_by_their_images() -> None:
    """Each gets the checksum of its images and its variant's whole model; how the folder was typed changes no key."""

    def keys(name: str, checksum: str) -> list[str]:
        planned = plan(EXPERIMENT, CPU, data=name)
        models = {variant: Model(name="norm_cnn", norm=variant, dropout=0.01) for variant in EXPERIMENT.variants}
        completed = on_images(planned, dict.fromkeys([planned.runs[0].recipe.data], checksum), models)
        assert {spec.recipe.model.options["dropout"] for spec in completed.runs} == {0.01}
        return [spec.key for spec in completed.runs]

    assert keys("folder:images", "beef") == keys("folder:./images/", "beef")
    assert not set(keys("folder:images", "beef")) & set(keys("folder:images", "feed"))


def test_steps_count_the_short_batch() -> None:
    """50,000 images in batches of 512 are 98 steps; an exact multiple has no batch left over."""
    assert steps_per_epoch(50_000, 512) == 98
    assert [steps_per_epoch(images, 512) for images in (1, 511, 512, 513, 1024)] == [1, 1, 1, 2, 2]


def test_differences_are_only_what_differs() -> None:
    """Field → each variant's value, None where a variant lacks the field; 1 and 1.0 and True differ."""
    recipes = {
        "plain": BASE.model_copy(update={"model": Model(name="norm_cnn", x=1)}),
        "bare": BASE.model_copy(update={"model": Model(name="norm_cnn")}),
        "float": BASE.model_copy(update={"model": Model(name="norm_cnn", x=1.0)}),
    }
    assert repr(differences(recipes)) == repr({"model.x": {"plain": 1, "bare": None, "float": 1.0}})
    assert differences({"a": BASE, "b": BASE}) == {}


def test_looks_are_part_of_the_design_and_decide_the_most_seeds() -> None:
    """Recorded with every run: at which numbers of seeds results will be looked at; none where the number is fixed."""
    planned = plan(EXPERIMENT, CPU, looks=(7, 10))
    assert (planned.design.looks, planned.design.max_seeds) == ((7, 10), 10)
    assert planned.design.seeds == (3, 7, *range(8, 16))
    assert (plan(EXPERIMENT, CPU).design.looks, plan(EXPERIMENT, CPU).design.max_seeds) == ((), None)


def test_predictions_are_part_of_the_design() -> None:
    """And so of the first event of every run that is made of it."""
    predicted = plan(_with(expected={"group": "worse"}), CPU)
    assert predicted.design.expected == {"group": "worse"}
    assert Design.model_validate_json(predicted.design.model_dump_json()) == predicted.design
