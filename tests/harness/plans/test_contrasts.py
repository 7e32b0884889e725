"""Effects of crossed factors: on cells whose effects are known, with cells missing, and what is said of a design."""

from typing import Any

import pytest

from harness.environment import Machine
from harness.plans.cells import all_cells
from harness.plans.contrasts import contrasts
from harness.plans.experiment import Experiment
from harness.plans.foresight import notes
from harness.plans.plan import Plan, plan
from tests.harness.plans.test_plan import BASE, EXPERIMENT

FACTORS: dict[str, Any] = {"model.norm": ("batch", "group"), "model.dropout": (0.0, 0.1)}
THREE: dict[str, Any] = FACTORS | {"optimizer.nesterov": (False, True)}


def values(factors: dict[str, Any], **weights: float) -> dict[str, float]:
    """A result a cell, from what each level and each combination of levels adds to it."""
    made = {}
    for name, own in all_cells(factors).items():
        new = {field.split(".")[1] for field, level in own.items() if level not in ("batch", 0.0, False)}
        made[name] = sum(weight for key, weight in weights.items() if set(key.split("_")) <= new)
    return made


def found(factors: dict[str, Any], results: dict[str, float], baseline: str) -> dict[str, float]:
    effects = contrasts(all_cells(factors), baseline)
    return {each.name: round(sum(w * results[cell] for cell, w in each.weights.items()), 9) for each in effects}


def test_main_effects_are_averages_over_the_other_factor_and_the_interaction_a_difference_of_differences() -> None:
    """Group norm adds 1, dropout 2, and both together 4 more."""
    results = values(FACTORS, norm=1.0, dropout=2.0, norm_dropout=4.0)
    assert found(FACTORS, results, "batch_0") == {
        "model.norm group": 1.0 + 4.0 / 2,
        "model.dropout 0.1": 2.0 + 4.0 / 2,
        "model.norm group × model.dropout 0.1": 4.0,
    }


def test_three_factors_have_interactions_of_every_order() -> None:
    """Three main effects, three of two factors, one of three; each is free of what the others add."""
    results = values(THREE, norm=1.0, dropout_nesterov=3.0, norm_dropout_nesterov=8.0)
    assert found(THREE, results, "batch_0_no_nesterov") == {
        "model.norm group": 1.0 + 8 / 4,
        "model.dropout 0.1": 3 / 2 + 8 / 4,
        "optimizer.nesterov True": 3 / 2 + 8 / 4,
        "model.norm group × model.dropout 0.1": 8 / 2,
        "model.norm group × optimizer.nesterov True": 8 / 2,
        "model.dropout 0.1 × optimizer.nesterov True": 3 + 8 / 2,
        "model.norm group × model.dropout 0.1 × optimizer.nesterov True": 8.0,
    }


def test_every_further_level_has_effects_beside_the_baselines() -> None:
    """Three norms and two rates of dropout: the levels stand in place of those of the baseline's cell."""
    factors = FACTORS | {"model.norm": ("batch", "group", "layer")}
    names = [each.name for each in contrasts(all_cells(factors), "group_01")]
    assert names[:3] == ["model.norm batch", "model.norm layer", "model.dropout 0.0"]
    assert len(names) == 5


def test_a_missing_cell_takes_the_effects_that_need_it() -> None:
    """Without one cell of two by two nothing is left; with a third norm what does not need the cell stays."""
    cells = all_cells(FACTORS | {"model.norm": ("batch", "group", "layer")})
    del cells["layer_01"]
    lost = {each.name: each.missing for each in contrasts(cells, "batch_0")}
    assert lost["model.norm group"] == lost["model.norm group × model.dropout 0.1"] == ()
    assert lost["model.norm layer"] == ("model.norm layer with model.dropout 0.1",)
    assert lost["model.dropout 0.1"], "it is an average over all norms"


def _planned(chosen: tuple[str, ...] = (), **changes: Any) -> Plan:
    return plan(Experiment(**dict(EXPERIMENT) | changes), Machine("cpu", bf16=True, threads=2), variants=chosen)


CROSSED: dict[str, Any] = {
    "factors": FACTORS, "cells": all_cells(FACTORS), "variants": all_cells(FACTORS), "factor": tuple(FACTORS),
    "baseline": "batch_0", "published": (),
}  # fmt: skip


def test_what_cannot_be_told_is_said_before_anything_trains() -> None:
    """Cells that are not asked for, and cells that the design leaves out."""
    assert notes(_planned(**CROSSED)) == []
    (said,) = notes(_planned(("batch_0", "batch_01", "group_0"), **CROSSED))
    assert said == (
        "note: without the cells group_01 these effects cannot be estimated: model.norm group, model.dropout 0.1, "
        "model.norm group × model.dropout 0.1"
    )
    cells = {name: own for name, own in all_cells(FACTORS).items() if name != "batch_01"}
    fewer: dict[str, Any] = CROSSED | {"cells": cells, "variants": cells}
    (said,) = notes(_planned(**fewer))
    assert said.startswith("note: without the cells model.norm batch with model.dropout 0.1 these effects")


def test_a_variant_that_changes_two_factors_at_once_is_said() -> None:
    """Declared as they are, both may differ; but no run tells which of them makes the difference."""
    variants = {"batch": {}, "both": {"model.norm": "group", "model.dropout": 0.1}}
    more: dict[str, Any] = {"variants": variants, "factor": ("model.norm", "model.dropout"), "published": ()}
    more["base"] = BASE.model_copy(update={"model": BASE.model.model_copy(update={"dropout": 0.0})})
    (said,) = notes(_planned(**more))
    assert said == (
        "note: both differs from batch in model.norm and model.dropout at once; these runs cannot separate their "
        "effects: `factors` would cross them"
    )
    assert notes(_planned()) == []


def test_two_factors_at_once_are_refused_where_one_is_declared() -> None:
    with pytest.raises(
        ValueError, match=r"`optimizer.lr` differs between variants .* the factor of 'norms' is model.norm"
    ):
        _planned(variants={"batch": {}, "group": {"model.norm": "group", "optimizer.lr": 0.2}}, published=())
