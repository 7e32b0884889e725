"""Blocks: what differs between seeds alone, and alike for all variants of each, so that pairs stay pairs.

Later seeds made by later code or on another machine move both runs of a pair; a difference within a seed is mixed up
with the factor (Fisher 1935, The Design of Experiments, §26: randomised blocks).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.plans.spec import RunSpec

_AROUND = ("circumstances.", "environment.")
_NEVER = ("environment.model_code",)
"""Another network under the same name is another question."""


def is_block(field: str, runs: Iterable[tuple[int, str, Any]]) -> bool:
    """Whether a field that differs between runs does so between seeds alone.

    Only circumstances and environment can be blocks: never what is asked, the images, or what a run found for itself.
    Every seed needs runs of two variants: one run alone is mixed up with its variant, or is of the only one.

    Args:
        field: dotted, as reports name it.
        runs: seed, variant and value of every run that will be compared.
    """
    if not field.startswith(_AROUND) or field in _NEVER:
        return False
    values, variants = dict[int, set[str]](), dict[int, set[str]]()
    for seed, variant, value in runs:
        values.setdefault(seed, set()).add(repr(value))
        variants.setdefault(seed, set()).add(variant)
    return all(len(found) == 1 for found in values.values()) and all(len(names) > 1 for names in variants.values())


def confounded(made: Sequence[tuple[RunSpec, Mapping[str, tuple[Any, Any]]]], missing: Sequence[RunSpec]) -> set[str]:
    """The fields that changed since runs were made and would be no blocks once the missing runs are made as things are.

    Args:
        made: each run that is there, and what changed since: field → its value then and now.
    """
    specs = [*(spec for spec, _ in made), *missing]

    def values(field: str) -> list[str]:
        return [repr(pairs[field][0]) if field in pairs else "now" for _, pairs in made] + ["now"] * len(missing)

    fields = {field for _, pairs in made for field in pairs}
    runs = {f: [(s.seed, s.variant, value) for s, value in zip(specs, values(f), strict=True)] for f in fields}
    return {field for field in fields if not is_block(field, runs[field])}
