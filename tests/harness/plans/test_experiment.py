"""Experiments: each rule that a declaration breaks is refused in one line."""

from typing import Any

import pytest
from pydantic import ValidationError

from harness.evidence import metrics
from harness.plans.experiment import Experiment, Published
from harness.plans.overrides import explain
from tests.harness.plans.test_spec import RECIPE

PRIMARY = ", ".join(metrics.primary_names())
NAME = "must be small letters, digits and underscores, 64 at most"
GIVEN: dict[str, Any] = {
    "name": "e",
    "question": "?",
    "base": RECIPE,
    "variants": {"a": {}, "b": {"epochs": 2}},
    "factor": ("epochs",),
    "baseline": "a",
    "seeds": (0, 1),
}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("baseline", "c", "baseline must be one of a, b; got 'c'"),
        ("seeds", (0, 0), "seeds must differ from each other; got (0, 0)"),
        ("seeds", (), "`seeds` must have at least 1 item; got ()"),
        ("seeds", (-1, 3), "`seeds.0` must be greater than or equal to 0; got -1"),
        ("seeds", (2**31,), "`seeds.0` must be less than 2147483648; got 2147483648"),
        ("variants", {}, "variants, with factor, must be given, or factors"),
        ("variants", {"sgd": 5}, "`variants.sgd` must be a valid dictionary; got 5"),
        ("name", "../e", f"`name` {NAME}; got '../e'"),
        ("name", "e\n", f"`name` {NAME}; got 'e\\n'"),
        ("factor", ("model.norm", "a b"), "`factor.1` must be a field's dotted name, as optimizer.lr; got 'a b'"),
        (
            "primary_metric",
            "macro_f1",
            f"`primary_metric` must be one of {PRIMARY}; got 'macro_f1'; did you mean "
            "'test_macro_f1' or 'test_accuracy' or 'test_loss'?",
        ),
        (
            "primary_metric",
            "test_loss",
            "smallest_difference_points must be given, in the unit of test_loss itself, as that is no percentage",
        ),
        ("smallest_difference_points", 0.0, "`smallest_difference_points` must be greater than 0; got 0.0"),
        ("seed", 1, "`seed` is not a field; did you mean 'seeds' or 'max_seeds' or 'expected'?"),
        ("published", ({"variant": "a"},), "`published.0.test_accuracy_percent` must be given"),
        ("expected", {"a": "better"}, "expected must name variants other than the baseline (b); got 'a'"),
        ("expected", {"b": "best"}, "`expected.b` must be 'better', 'worse' or 'equivalent'; got 'best'"),
        ("looks", (7, 7), "`looks` must be numbers of seeds, each above the one before; got (7, 7)"),
        ("looks", (1, 7), "`looks.0` must be greater than or equal to 2; got 1"),
        ("compare", "some", "`compare` must be 'baseline' or 'all'; got 'some'"),
    ],
)
def test_an_experiment_that_breaks_a_rule_is_refused(field: str, value: Any, said: str) -> None:
    """Each rule of an experiment, in one line: field, rule, value."""
    with pytest.raises(ValidationError) as caught:
        Experiment(**GIVEN | {field: value})
    assert explain(caught.value) == said


def test_a_valid_experiment_is_accepted() -> None:
    """What the refusals above start from breaks no rule."""
    published = (Published(variant="a", test_accuracy_percent=75.0, source="seed"),)
    assert Experiment(**GIVEN, published=published).seeds == (0, 1)
