"""Find the fields in which recipes differ, and compare dotted field names."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.plans.spec import Recipe
from harness.values import flatten


def differences(recipes: Mapping[str, Recipe]) -> dict[str, dict[str, Any]]:
    """Dotted field → {variant: value}, for the fields in which the recipes differ; a missing field has value None."""
    flat = {name: flatten(recipe) for name, recipe in recipes.items()}
    fields = dict.fromkeys(field for values in flat.values() for field in values)
    table = {field: {name: values.get(field) for name, values in flat.items()} for field in fields}
    return {field: values for field, values in table.items() if len({repr(v) for v in values.values()}) > 1}


def within(field: str, parents: Sequence[str]) -> bool:
    """True if a dotted field is one of `parents` or lies below one of them."""
    return any(field == parent or field.startswith(parent + ".") for parent in parents)
