"""Tuning's values: what a budget is expected to give, where an optimum lies, and experiments that cannot be tuned."""

import json
from itertools import combinations
from typing import Any

import pytest

from harness.environment import Machine
from harness.plans.experiment import Experiment
from harness.plans.overrides import explain
from harness.plans.plan import plan
from harness.plans.search import trial_recipe
from harness.plans.tuning import Choice, LogUniform, Trial, Tuned, Tuning, Uniform, best_of
from harness.values import SpecError
from tests.harness.plans.test_plan import BASE, EXPERIMENT

CPU = Machine("cpu", bf16=True, threads=2)
SCORES = (0.1, 0.7, 0.4, 0.4, 0.0, 0.9)


def tuned(*points: tuple[float, float | None], space: Any = None) -> Tuned:
    """Trials of one variant: rate and validation accuracy."""
    trials = tuple(
        Trial(variant="batch", number=n, values={"optimizer.lr": rate}, key=f"k{n}", seed=n, score=score,
              train_seconds=1.0)
        for n, (rate, score) in enumerate(points)
    )  # fmt: skip
    return Tuned(asked=Tuning(space=space or {"optimizer.lr": LogUniform(1e-4, 1.0)}), base={}, trials=trials)


@pytest.mark.parametrize("budget", range(1, 7))
def test_the_expected_best_is_the_mean_over_all_subsets(budget: int) -> None:
    """Brute force over every subset of so many trials."""
    each = [max(chosen) for chosen in combinations(SCORES, budget)]
    assert best_of(SCORES, budget) == pytest.approx(sum(each) / len(each))


def test_the_expected_best_is_not_dodges_plug_in_estimate() -> None:
    """Drawing with replacement, as that does, gives less for every budget above 1: it is biased downwards."""
    ranked, n = sorted(SCORES), len(SCORES)
    for budget in range(2, 7):
        plug_in = sum(v * (((i + 1) / n) ** budget - (i / n) ** budget) for i, v in enumerate(ranked))
        assert best_of(SCORES, budget) > plug_in


def test_the_best_is_the_earliest_of_the_highest_and_never_one_that_diverged() -> None:
    best = tuned((1.0, None), (0.1, 0.6), (0.2, 0.6), (0.3, 0.5)).best("batch")
    assert best is not None
    assert best.number == 1
    assert tuned((1.0, None)).best("batch") is None


def test_of_a_metric_that_is_better_lower_the_best_is_the_lowest() -> None:
    """A diverged trial is never the best; it counts as the worst of the others, as a loss has no upper end."""
    found = tuned((1.0, None), (0.1, 0.6), (0.2, 0.4), (0.3, 0.5)).model_copy(update={"metric": "test_loss"})
    best = found.best("batch")
    assert best is not None
    assert best.number == 2
    assert [found.worth(trial) for trial in found.trials] == [0.6, 0.6, 0.4, 0.5]
    error = found.model_copy(update={"metric": "test_calibration_error"})
    assert error.worth(error.trials[0]) == 1.0
    assert tuned((1.0, None)).worth(tuned((1.0, None)).trials[0]) == 0.0


def test_trials_recorded_before_there_was_a_choice_of_metric_are_read() -> None:
    """Their scores were called validation_accuracy; what is written now is read back."""
    now = tuned((0.1, 0.6), (0.2, None))
    recorded = json.loads(now.model_dump_json())
    assert Tuned.model_validate_json(json.dumps(recorded)) == now
    del recorded["metric"]
    for trial in recorded["trials"]:
        trial["validation_accuracy"] = trial.pop("score")
    assert Tuned.model_validate_json(json.dumps(recorded)) == now


@pytest.mark.parametrize(
    ("rate", "edges"),
    [(2e-4, {"optimizer.lr": "low"}), (3e-4, {}), (0.3, {}), (0.5, {"optimizer.lr": "high"})],
)
def test_an_edge_is_the_outer_tenth_of_the_range(rate: float, edges: dict[str, str]) -> None:
    """By the logarithm where points are drawn so: a tenth of four factors of ten is a factor of 2.5."""
    assert tuned((0.01, 0.1), (rate, 0.9)).at_edge("batch") == edges
    linear = {"optimizer.lr": Uniform(0.0, 1.0)}
    assert tuned((0.95, 0.9), space=linear).at_edge("batch") == {"optimizer.lr": "high"}
    assert tuned((0.95, 0.9), space={"optimizer.lr": Choice((0.95, 1.0))}).at_edge("batch") == {}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: LogUniform(0.1, 0.01), "a range must have low below high; got 0.1 and 0.01"),
        (lambda: LogUniform(0.0, 1.0), "the low end of LogUniform must be above 0; got 0.0"),
        (lambda: Choice((1,)), "`values` must have at least 2 items after validation, not 1; got (1,)"),
        (lambda: Tuning(space={}), "`space` must have at least 1 item"),
        (lambda: Tuning(space={"epochs": Choice((1, 2))}, trials=1),
         "`trials` must be greater than or equal to 2; got 1"),
    ],
)  # fmt: skip
def test_ranges_that_are_none_are_refused(made: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        made()
    assert explain(caught.value) == said  # pyright: ignore[reportArgumentType]


def _tuning(space: dict[str, Any], **changes: Any) -> Experiment:
    given: dict[str, Any] = dict(EXPERIMENT) | {"tune": Tuning(space=space)}
    return Experiment(**given | changes)


RATES: dict[str, Any] = {"optimizer.lr": LogUniform(1e-4, 1.0)}


@pytest.mark.parametrize(
    ("experiment", "changes", "said"),
    [
        (_tuning({"model.norm": Choice(("batch", "group"))}), {}, "'model.norm' is part of the factor: leave it out"),
        (_tuning({"optimizer.lr": LogUniform(1e-4, 1.0)}), {"optimizer.lr": 0.3}, "SET cannot give it a value"),
        (_tuning({"data.validation_seed": Choice((1, 2))}), {}, "must leave images and precision as they are"),
        (_tuning({"epochs": LogUniform(1.5, 4.5)}), {}, "`epochs` must be a valid integer; got 1.5 (tune.space of"),
        (_tuning({"optimizer.momentum": Uniform(0.0, 1.0)}), {}, "`optimizer.momentum` must be less than 1; got 1.0"),
        (_tuning({"optimizer.lrr": LogUniform(1e-4, 1.0)}), {}, "`optimizer.lrr` is not a field; did you mean"),
        (_tuning(RATES, primary_metric="validation_accuracy"), {"data.validation_fraction": 0.1},
         "`primary_metric` must be one of test images where tune is given, as 'test_accuracy'"),
        (_tuning(RATES), {"data.validation_fraction": 0.1}, "`data.validation_fraction` must be 0 where tune is given"),
        (_tuning(RATES), {"data.validation_fraction": 0.1, "data.scored_on": "held_out"},
         "`data.scored_on` must be 'test', as 'held_out' is for the trials of a tuning alone"),
        (_tuning(RATES), {"lr_finder.start_lr": 1e-6}, "`lr_finder` must be left out where tune is given"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_fairly_is_refused_before_anything_trains(
    experiment: Experiment, changes: dict[str, Any], said: str
) -> None:
    """Every end of every range is tried on every variant's recipe, and nothing but the trials may set a tuned field."""
    with pytest.raises(SpecError) as caught:
        plan(experiment, CPU, changes=changes)
    assert said in str(caught.value)


def test_no_setting_lets_a_trial_see_test_images() -> None:
    """Whatever the recipe and the values, what trains is scored on held-out images; no range may touch the data."""
    recipe = trial_recipe(BASE, {"optimizer.lr": 0.3}, 0.2)
    assert (recipe.data.scored_on, recipe.data.validation_fraction) == ("held_out", 0.2)
    whole = {"data.scored_on": "test", "data.validation_fraction": 0.0}
    assert trial_recipe(BASE, whole, 0.2).data == recipe.data


def test_the_tuned_fields_are_declared_and_trials_have_seeds_of_their_own() -> None:
    planned = plan(_tuning(RATES), CPU)
    assert planned.design.tuned == ("optimizer.lr",)
    assert planned.design.may_differ == ("model.norm", "optimizer.lr")
    with pytest.raises(ValueError, match="seeds must be below 2000000000 where tune is given"):
        _tuning(RATES, seeds=(1, 2_000_000_000))
