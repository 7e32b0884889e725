"""Specs: to JSON and back without loss, digests that name them, and values that break a rule refused."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.plans.hyperparameters import SGD, Adam, AdamW, Constant, Cosine, LRFinder, OneCycle, Step
from harness.plans.spec import DATASETS, Data, Model, Recipe, RunSpec, Transform
from harness.values import flatten

RECIPE = Recipe(
    data=Data(name="cifar10", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1)),
    model=Model(name="norm_cnn", norm="group"),
    augmentation=(Transform(name="HorizontalFlip", p=0.5),),
    optimizer=Adam(lr=0.01),
    lr_finder=LRFinder(),
    schedule=OneCycle(),
    epochs=15,
)
CHANGES: dict[str, dict[str, Any]] = {
    "data": {"name": "cifar100", "title": "CIFAR", "image_size": 32, "mean": [0.5, 0.4, 0.31], "std": [0.2, 0.2, 0.2],
             "validation_fraction": 0.1, "validation_seed": 1, "allow_missing_test_classes": True},
    "model": {"name": "resnet", "norm": "layer"},
    "optimizer": {"name": "adamw", "lr": "find", "betas": [0.9, 0.99], "eps": 1e-7, "weight_decay": 5e-324},
    "schedule": {"pct_start": 5 / 24, "anneal_strategy": "linear", "div_factor": 100.0, "final_div_factor": 1.0,
                 "three_phase": True, "cycle_momentum": False, "base_momentum": 0.8, "max_momentum": 0.9},
    "lr_finder": {"start_lr": 1e-4, "end_lr": 2.0, "iterations": 201, "smoothing": 0.0, "diverge_threshold": 4.0,
                  "suggestion": "minimum_tenth", "each_run": True},
    "": {"augmentation": [{"name": "HorizontalFlip", "p": 0.25}], "epochs": 16, "batch_size": 256,
         "label_smoothing": 0.1, "clip_norm": 1.0, "ema_decay": 0.9, "test_time_flip": True,
         "precision": "fp32",
         "schedule": {"name": "constant"}},
}  # fmt: skip
"""For every field another value than RECIPE's; schedule.name cannot change alone."""


def _finite(**bounds: Any) -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False, allow_infinity=False, **bounds)


positive = _finite(min_value=0, exclude_min=True)
momentum = _finite(min_value=0, max_value=1, exclude_max=True)
text = st.text(st.characters(codec="utf-8"), max_size=8)
scalar = st.booleans() | st.integers() | _finite() | text
argument_name = st.integers(0, 5).map("argument_{}".format)


@st.composite
def data(draw: st.DrawFn) -> Data:
    channels = draw(st.integers(1, 4))
    statistics = draw(st.booleans())
    return Data(
        name=draw(st.sampled_from(DATASETS) | text.filter(bool).map("folder:{}".format)),
        title=draw(st.none() | text),
        image_size=draw(st.none() | st.integers(8, 1024)),
        mean=draw(st.tuples(*[_finite(min_value=0)] * channels)) if statistics else None,
        std=draw(st.tuples(*[positive] * channels)) if statistics else None,
        validation_fraction=draw(_finite(min_value=0, max_value=0.5)),
        validation_seed=draw(st.integers(min_value=0)),
    )


lr = positive | st.just("find")
adam = {"lr": lr, "betas": st.tuples(momentum, momentum), "eps": positive, "weight_decay": _finite(min_value=0)}
optimizer = (
    st.builds(Adam, **adam)
    | st.builds(AdamW, **adam)
    | st.builds(SGD, lr=lr, momentum=_finite(min_value=0.1, max_value=0.9), nesterov=st.booleans())
)
schedule = (
    st.builds(OneCycle, pct_start=_finite(min_value=0.01, max_value=0.99), div_factor=_finite(min_value=1))
    | st.builds(Step, step_epochs=st.integers(min_value=1), gamma=_finite(min_value=1e-9, max_value=1))
    | st.builds(Cosine, warmup_epochs=_finite(min_value=0, max_value=0.5), final_fraction=momentum)
    | st.just(Constant())
)
transform = st.builds(
    lambda name, arguments: Transform(name=name, **arguments),
    text,
    st.dictionaries(argument_name, st.none() | scalar | st.lists(scalar, max_size=3).map(tuple), max_size=3),
)
recipe = st.builds(
    Recipe,
    data=data(),
    model=st.builds(
        lambda name, options: Model(name=name, **options),
        text,
        st.dictionaries(argument_name, st.none() | scalar, max_size=3),
    ),
    optimizer=optimizer,
    schedule=schedule,
    augmentation=st.lists(transform, max_size=2).map(tuple),
    lr_finder=st.builds(LRFinder, start_lr=_finite(min_value=1e-9, max_value=0.1), iterations=st.integers(20, 99)),
    epochs=st.integers(1, 100_000),
    clip_norm=st.none() | positive,
)


@given(recipe, st.integers(0, 2**31 - 1))
@settings(max_examples=50, deadline=None)
def test_a_spec_survives_json_without_loss(recipe: Recipe, seed: int) -> None:
    """Any valid spec comes back from either kind of JSON with equal values of the same types (1, 1.0 and True differ),
    and with the same digest and key."""
    spec = RunSpec(experiment="e", variant="v", seed=seed, recipe=recipe)
    for written in (spec.model_dump_json(), json.dumps(spec.model_dump(mode="json"))):
        again = RunSpec.model_validate_json(written)
        assert repr(again) == repr(spec)  # unlike ==, tells 1 from 1.0 and True
        assert again == spec
        assert again.key == spec.key


def key(recipe: Recipe, images: str = "beef", seed: int = 3) -> str:
    return RunSpec(experiment="norms", variant="group", seed=seed, recipe=recipe, images=images).key


def test_the_key_is_the_same_everywhere() -> None:
    """Pinned: runs recorded under a key are found again by it, on any machine and under any version of Python."""
    assert key(RECIPE) == "norms-group-s3-f413da08b147"


def test_every_field_changes_the_key() -> None:
    """Each field of a recipe, changed alone, gives a key of its own, as do other images and another seed; what the
    images are called and where they lie is no part of it."""
    changed: dict[str, str] = {}
    for parent, fields in CHANGES.items():
        for field, value in fields.items():
            tree = RECIPE.model_dump(mode="json")
            (tree[parent] if parent else tree)[field] = value
            changed[f"{parent}.{field}".strip(".")] = key(Recipe.model_validate_json(json.dumps(tree)))
    held_out = RECIPE.data.model_copy(update={"validation_fraction": 0.1, "scored_on": "held_out"})
    changed["data.scored_on"] = key(RECIPE.model_copy(update={"data": held_out}))
    assert changed.keys() == flatten(RECIPE).keys() - {"schedule.name"} | {"schedule"}
    assert changed.pop("data.name") == changed.pop("data.title") == key(RECIPE)
    others = {key(RECIPE), key(RECIPE, images="feed"), key(RECIPE, seed=4).replace("s4", "s3")}
    assert len(others | set(changed.values())) == len(changed) + 3


def test_values_are_frozen() -> None:
    """A recipe that a run was named by cannot change under it."""
    with pytest.raises(ValidationError, match="frozen"):
        RECIPE.epochs = 2  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError, match="frozen"):
        RECIPE.model.name = "resnet"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_data_set_is_called_by_its_title_or_its_folder() -> None:
    """Tables show the title if there is one, else the name, of a folder its last part."""
    assert Data(name="digits").label == "digits"
    assert Data(name="folder:/images/pets/").label == "pets"
    assert Data(name="folder:/images/pets", title="Cats and dogs").label == "Cats and dogs"
