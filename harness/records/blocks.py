"""Blocks: conditions that differ between seeds but are equal for all variants of a seed, so that pairs stay comparable.

If later seeds are made by other code or on another machine, both runs of a pair are affected alike; a difference within
a seed would be confounded with the factor (Fisher 1935, The Design of Experiments, §26: randomised blocks).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.plans.spec import RunSpec

_AROUND = ("circumstances.", "environment.")
_NEVER = ("environment.model_code",)
"""Fields that can never be blocks: another network under the same name asks a different question."""


def is_block(field: str, runs: Iterable[tuple[int, str, Any]]) -> bool:
    """True if a field differs only between seeds, and is the same for all runs of one seed.

    Only circumstances and environment can be blocks, not the recipe, the images, or what a run found for itself. Every
    seed needs runs of at least two variants; otherwise its value could not be separated from the variant.

    Args:
        field: dotted name, as in reports.
        runs: (seed, variant, value) of every run that will be compared.
    """
    if not field.startswith(_AROUND) or field in _NEVER:
        return False
    values, variants = dict[int, set[str]](), dict[int, set[str]]()
    for seed, variant, value in runs:
        values.setdefault(seed, set()).add(repr(value))
        variants.setdefault(seed, set()).add(variant)
    return all(len(found) == 1 for found in values.values()) and all(len(names) > 1 for names in variants.values())


def confounded(made: Sequence[tuple[RunSpec, Mapping[str, tuple[Any, Any]]]], missing: Sequence[RunSpec]) -> set[str]:
    """Fields that changed since runs were made and would not be blocks if the missing runs were made now.

    Args:
        made: each existing run, with {field: (value then, value now)} for what has changed.
        missing: the runs that are still to be made.
    """
    specs = [*(spec for spec, _ in made), *missing]

    def values(field: str) -> list[str]:
        return [repr(pairs[field][0]) if field in pairs else "now" for _, pairs in made] + ["now"] * len(missing)

    fields = {field for _, pairs in made for field in pairs}
    runs = {f: [(s.seed, s.variant, value) for s, value in zip(specs, values(f), strict=True)] for f in fields}
    return {field for field in fields if not is_block(field, runs[field])}
