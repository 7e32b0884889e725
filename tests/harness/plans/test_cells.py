"""Crossed factors: the cells, their names, and experiments whose cells are not crossed refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from harness.plans.cells import all_cells
from harness.plans.experiment import Experiment
from harness.plans.overrides import explain
from tests.harness.plans.test_spec import RECIPE

FACTORS: dict[str, Any] = {"model.norm": ("batch", "group"), "model.dropout": (0.0, 0.1)}
GIVEN: dict[str, Any] = {
    "name": "e", "question": "?", "base": RECIPE, "factors": FACTORS, "baseline": "batch_0", "seeds": (0, 1),
}  # fmt: skip


def test_factors_alone_give_every_cell_a_variant_with_a_readable_name() -> None:
    """The variants are all combinations, and the factor is the fields crossed."""
    experiment = Experiment(**GIVEN)
    assert experiment.variants == {
        "batch_0": {"model.norm": "batch", "model.dropout": 0.0},
        "batch_01": {"model.norm": "batch", "model.dropout": 0.1},
        "group_0": {"model.norm": "group", "model.dropout": 0.0},
        "group_01": {"model.norm": "group", "model.dropout": 0.1},
    }
    assert experiment.cells == experiment.variants
    assert experiment.factor == ("model.norm", "model.dropout")
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


def test_a_metric_that_is_no_percentage_needs_its_smallest_difference_and_nothing_else() -> None:
    """Effects are given in the metric's own unit."""
    given: dict[str, Any] = GIVEN | {"primary_metric": "test_loss"}
    assert Experiment(**given, smallest_difference_points=0.01).primary_metric == "test_loss"
    with pytest.raises(ValueError, match="smallest_difference_points must be given, in the unit of test_loss"):
        Experiment(**given)


@pytest.mark.parametrize(
    ("levels", "names"),
    [
        ((False, True), ["no_nesterov", "nesterov"]),
        ((1e-3, 10.0, 5), ["0001", "10", "5"]),
        ((-1, 1), ["m1", "1"]),
        (("Layer CHW", "a-b"), ["layer_chw", "a_b"]),
        ((1.5, 15), ["15", "15_"]),
    ],
)
def test_levels_of_any_kind_make_names(levels: tuple[Any, ...], names: list[str]) -> None:
    """Booleans are called after their field, numbers by their digits; two cells never share a name."""
    assert [name.removeprefix("a_") for name in all_cells({"m": ("a",), "optimizer.nesterov": levels})] == names


def test_cells_may_be_named_and_chosen() -> None:
    """A subset of the combinations under names of the user's own."""
    chosen = {"plain": {"model.norm": "batch", "model.dropout": 0.0}, "both": {"model.norm": "group",
              "model.dropout": 0.1}}  # fmt: skip
    assert list(Experiment(**GIVEN | {"cells": chosen, "baseline": "plain"}).variants) == ["plain", "both"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"factors": {"epochs": (1, 2)}}, "factors must be two or more; for epochs alone use variants and factor"),
        ({"factors": FACTORS | {"epochs": (1,)}}, "factors must have two levels or more, none twice; epochs has (1,)"),
        ({"cells": {"x": {"model.norm": "batch"}}},
         "cells must give each factor (model.norm, model.dropout) a level; 'x' gives {'model.norm': 'batch'}"),
        ({"cells": {"x": {"model.norm": "layer", "model.dropout": 0.0}}},
         "cells must have levels of factors; 'x' has model.norm='layer'"),
        ({"cells": {"x": {"model.norm": "batch", "model.dropout": 0}}},
         "cells must have levels of factors; 'x' has model.dropout=0"),
        ({"variants": {"x": {}}}, "variants follow from factors: leave them out, or use cells to name or choose them"),
        ({"factor": ("model",)}, "factor follows from factors: leave it out"),
        ({"factors": {}, "variants": {"a": {}}, "cells": {"a": {}}}, "cells need factors: dotted field → its levels"),
        ({"baseline": "batch"}, "baseline must be one of batch_0, batch_01, group_0, group_01; got 'batch'"),
    ],
)  # fmt: skip
def test_what_is_not_crossed_is_refused(changes: dict[str, Any], said: str) -> None:
    """One line: the field, the rule, the value."""
    with pytest.raises(ValidationError) as caught:
        Experiment(**GIVEN | changes)
    assert explain(caught.value) == said
