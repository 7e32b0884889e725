"""The base recipe is told in words, and "nothing was tuned" only where it is so."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.plans.hyperparameters import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    LRFinder,
    OneCycle,
    Optimizer,
    Schedule,
    Step,
    kinds,
)
from harness.plans.spec import Transform
from harness.records.events import LRFound
from harness.values import Values
from reports.recipe import base_recipe, describe
from reports.select import Selection
from tests.reports import records

UNTUNED = " The other variants use the same settings except for the factor; nothing was tuned for any of them."


def test_the_recipe_stands_in_the_text(tmp_path: Path) -> None:
    """With the baseline's name and every run's number; a single variant has nothing to be the same as."""
    text = base_recipe(records.selection(tmp_path))
    said = "Base recipe, that of batch: norm_cnn (norm=batch); SGD, learning rate 0.1, momentum 0.9, constant; "
    said += "2 epochs in batches of 10; augmentation none."
    assert text.text == said + UNTUNED
    assert text.runs == (1, 2, 3, 4, 5, 6)
    assert base_recipe(records.selection(tmp_path, ("batch",))).text == said


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (
            SGD(lr=0.05, nesterov=True, weight_decay=5e-4),
            "SGD, learning rate 0.05, momentum 0.9, Nesterov, weight decay 0.0005",
        ),
        (SGD(lr=0.05, momentum=0.0), "SGD, learning rate 0.05"),
        (Adam(lr=0.001), "Adam, learning rate 0.001, betas 0.9 and 0.999"),
        (AdamW(lr="find"), "AdamW, learning rate found by a range test, betas 0.9 and 0.999, weight decay 0.01"),
    ],
)
def test_optimisers_in_words(optimizer: Optimizer, said: str) -> None:
    recipe = records.recipe("batch").model_copy(update={"optimizer": optimizer})
    assert f"; {said}, constant; " in describe(recipe)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (OneCycle(cycle_momentum=False), "One Cycle (that rate at its peak, after 30% of the steps)"),
        (
            OneCycle(pct_start=0.3),
            "One Cycle (that rate at its peak, after 30% of the steps; momentum from 0.95 to 0.85 and back in place of "
            "0.9)",
        ),
        (Step(step_epochs=15), "times 0.1 every 15 epochs"),
        (Cosine(warmup_epochs=2), "cosine decay after 2 epochs of warm-up"),
        (Cosine(), "cosine decay"),
        (Constant(), "constant"),
    ],
)
def test_schedules_in_words(schedule: Schedule, said: str) -> None:
    recipe = records.recipe("batch").model_copy(update={"schedule": schedule})
    assert f"momentum 0.9, {said}; " in describe(recipe)


@pytest.mark.parametrize("kind", kinds(Optimizer).values())
def test_every_optimiser_has_words(kind: type[Values]) -> None:
    """Whatever is added to the union: its own name and its rate stand in the sentence."""
    recipe = records.recipe("batch").model_copy(update={"optimizer": kind.model_validate({"lr": 0.125})})
    (said,) = re.findall(r"; (\S+), learning rate 0.125, ", describe(recipe))
    assert said.lower() == kind.model_fields["name"].default


@pytest.mark.parametrize("kind", kinds(Schedule).values())
def test_every_schedule_has_words(kind: type[Values]) -> None:
    """Whatever is added to the union, and no two of them the same."""
    said = [
        describe(records.recipe("batch").model_copy(update={"schedule": each()})) for each in kinds(Schedule).values()
    ]
    assert "None" not in describe(records.recipe("batch").model_copy(update={"schedule": kind()}))
    assert len(set(said)) == len(said)


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (SGD(lr=0.1, momentum=0.0), "; momentum from 0.95 to 0.85 and back in place of 0)"),
        (Adam(lr=0.1), "; beta1 from 0.95 to 0.85 and back in place of 0.9)"),
    ],
)
def test_a_cycle_says_what_it_puts_in_momentums_place(optimizer: Optimizer, said: str) -> None:
    """Also where the recipe asks for none."""
    changes = {"optimizer": optimizer, "schedule": OneCycle()}
    assert said in describe(records.recipe("batch").model_copy(update=changes))


def test_what_else_a_recipe_holds_is_told_where_it_holds_it() -> None:
    plain = records.recipe("batch")
    transforms = (Transform(name="RandomCrop"), Transform(name="HorizontalFlip"))
    full = plain.model_copy(update={"augmentation": transforms, "label_smoothing": 0.2, "ema_decay": 0.99, "epochs": 1})
    assert describe(full).endswith(
        "1 epoch in batches of 10; augmentation RandomCrop, HorizontalFlip; label smoothing 0.2; "
        "weights averaged with decay 0.99"
    )
    assert "smoothing" not in describe(plain)


def test_rates_that_each_run_found_are_told_and_not_called_untuned(tmp_path: Path) -> None:
    """0.055 and 0.13 in one pair: that is a difference between the runs, and a tuned one."""
    selection = records.selection(tmp_path, seeds=(0,))
    found = [with_rate(selection, index, rate) for index, rate in enumerate((0.055, 0.127))]
    text = base_recipe(replace(selection, records=tuple(found))).text
    assert "SGD, learning rate found by a range test, " in text
    assert text.endswith(
        " Every run of batch found its own rate by a range test (0.055). Every run of group found its own rate by a "
        "range test (0.13)."
    )
    assert UNTUNED not in text


def test_a_rate_that_was_found_once_is_not_called_untuned(tmp_path: Path) -> None:
    """The recipe holds a number, and the settings of the range test that it came from."""
    selection = records.selection(tmp_path, seeds=(0,))
    searched = []
    for run in selection.records:
        recipe = run.started.spec.recipe.model_copy(update={"optimizer": SGD(lr=0.05), "lr_finder": LRFinder()})
        first = run.started.model_copy(update={"spec": run.started.spec.model_copy(update={"recipe": recipe})})
        searched.append(replace(run, events=(first, *run.events[1:])))
    text = base_recipe(replace(selection, records=tuple(searched))).text
    assert "The rate of batch, 0.05, was found by one LR range test for all of its runs." in text
    assert UNTUNED not in text


def with_rate(selection: Selection, index: int, rate: float):
    """The selection's run with this index, as one that found its rate."""
    run = selection.records[index]
    recipe = run.started.spec.recipe.model_copy(update={"optimizer": SGD(lr="find"), "lr_finder": LRFinder()})
    first = run.started.model_copy(update={"spec": run.started.spec.model_copy(update={"recipe": recipe})})
    told = LRFound(time=1001.0, lrs=(rate,), losses=(1.0,), suggestion=rate, seconds=1.0)
    return replace(run, events=(first, told, *run.events[1:]))
