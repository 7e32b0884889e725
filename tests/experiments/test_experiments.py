"""Every experiment in experiments/: it loads, plans and builds, and its file says what a reader needs first."""

import ast
from pathlib import Path

import pytest

import models
from harness.augmentation import source
from harness.plans import catalog
from harness.plans.experiment import Experiment
from harness.plans.plan import Machine, Plan, differences, plan, steps_per_epoch
from harness.training.optimizers import build_optimizer, build_scheduler
from harness.values import flatten

ROOT = Path(__file__).parents[2]
CPU = Machine("cpu", bf16=True, threads=2)
NAMES = catalog.names(ROOT)
IMAGES = {"digits": (3, 32, 1438), "cifar10": (3, 32, 50_000), "mnist": (1, 28, 60_000)}
"""Channels, height and width, training images of the data sets that experiments name."""

every_experiment = pytest.mark.parametrize("name", NAMES)


def _load(name: str) -> tuple[Experiment, Plan]:
    experiment = catalog.load(name, ROOT)
    return experiment, plan(experiment, CPU)


def test_the_promised_experiments_are_there() -> None:
    """The questions that the project was begun for."""
    assert NAMES == (
        "augmentation_ablation",
        "lr_finder_start",
        "mnist_step",
        "norm_by_dropout",
        "norm_comparison",
        "norm_tuned",
        "onecycle_endings",
        "quickstart",
        "resnet_94",
        "resnet_dropout",
        "resnet_onecycle",
    )


@every_experiment
def test_it_plans_to_all_its_runs(name: str) -> None:
    """Every variant with every seed, no two runs the same, nothing left open."""
    experiment, planned = _load(name)
    assert len(planned.runs) == len(experiment.variants) * len(experiment.seeds)
    assert len({spec.key for spec in planned.runs}) == len(planned.runs)
    for spec in planned.runs:
        assert "auto" not in map(str, flatten(spec.recipe).values())


@every_experiment
def test_no_two_variants_ask_the_same(name: str) -> None:
    """Each variant's recipe is another one, and the factor declares nothing in which none of them differ."""
    experiment, planned = _load(name)
    recipes = {spec.variant: spec.recipe for spec in planned.runs}
    assert len({str(recipe) for recipe in recipes.values()}) == len(recipes)
    differing = differences(recipes)
    for declared in experiment.factor:
        assert any(field == declared or field.startswith(f"{declared}.") for field in differing), declared


@every_experiment
def test_its_variants_can_be_made(name: str) -> None:
    """Models build with their options, optimizers and schedules with theirs, and transforms keep the images' size."""
    _, planned = _load(name)
    for recipe in {spec.variant: spec.recipe for spec in planned.runs}.values():
        channels, size, images = IMAGES[recipe.data.name]
        shape = {"in_channels": channels, "image_size": size, "classes": 10}
        models.check(recipe.model.name, shape | recipe.model.options)
        source.check(recipe.augmentation, size, size, channels)
        lr = 0.1 if recipe.optimizer.lr == "find" else recipe.optimizer.lr
        optimizer = build_optimizer(models.build("mnist_cnn"), recipe, lr)
        build_scheduler(optimizer, recipe.schedule, lr, steps_per_epoch(images, recipe.batch_size), recipe.epochs)
        assert recipe.data.mean is None or len(recipe.data.mean) == channels


@every_experiment
def test_published_results_stand_beside_variants_that_exist(name: str) -> None:
    """A result under a name that no variant has would silently not be shown; accuracies are percent, with a source."""
    experiment, _ = _load(name)
    for published in experiment.published:
        assert published.variant in experiment.variants
        assert 50 < published.test_accuracy_percent <= 100
        assert published.train_accuracy_percent is None or 50 < published.train_accuracy_percent <= 100
        assert published.source


@every_experiment
def test_its_file_says_what_a_reader_needs_first(name: str) -> None:
    """A docstring with what is expected, the command and the cost; the file short enough to be seen at once."""
    source = (ROOT / "experiments" / f"{name}.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    assert "Expected: " in docstring
    assert f"Command: make run EXP={name}. Cost: about " in docstring
    assert len(source.splitlines()) < 60
    assert _load(name)[0].question.endswith("?")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("quickstart", "mnist_step")])
def test_it_has_seeds_enough_to_show_a_difference(name: str) -> None:
    """Of n seeds the least p of joint sign flips is 2/2**n, whatever the number of comparisons."""
    assert 2 / 2 ** len(_load(name)[0].seeds) < 0.05


def test_the_seed_documents_recipes_are_as_they_were() -> None:
    """The values of seeds 002 and 003 that a slip would change in silence."""
    norms = catalog.load("norm_comparison", ROOT).base
    assert (norms.epochs, norms.batch_size, norms.optimizer.lr, norms.augmentation) == (15, 512, 0.02, ())
    assert norms.data.mean == (0.4914, 0.4822, 0.4465)
    assert norms.data.std == (0.2023, 0.1994, 0.2010)
    resnet = flatten(catalog.load("resnet_onecycle", ROOT).base)
    assert (resnet["epochs"], resnet["batch_size"], resnet["optimizer.name"], resnet["optimizer.lr"]) == (
        24,
        512,
        "adam",
        "find",
    )
    assert [transform["name"] for transform in resnet["augmentation"]] == [
        "Pad",
        "RandomCrop",
        "HorizontalFlip",
        "CoarseDropout",
    ]
    starts = catalog.load("lr_finder_start", ROOT).variants
    assert {v["lr_finder.start_lr"] for v in starts.values() if "lr_finder.start_lr" in v} == {1e-7, 1e-4, 3e-2}
