"""Factorial designs: the cells (combinations of factor levels) of an experiment and their names."""

import re
from collections.abc import Mapping
from itertools import product
from typing import Any

from harness.values import Name, Scalar

Cells = dict[Name, dict[str, Scalar]]


def all_cells(factors: Mapping[str, tuple[Scalar, ...]]) -> Cells:
    """Every combination of levels, named after its levels in the order of the factors: `batch_0`, `group_01`.

    Args:
        factors: dotted field → its levels.
    """
    cells: Cells = {}
    for levels in product(*factors.values()) if factors else ():
        name = "_".join(_word(field, level) for field, level in zip(factors, levels, strict=True))
        while name in cells:
            name += "_"
        cells[name] = dict(zip(factors, levels, strict=True))
    return cells


def _word(field: str, level: object) -> str:
    """A level as part of a cell's name: "batch" → `batch`, 0.1 → `01`, optimizer.nesterov False → `no_nesterov`."""
    if isinstance(level, bool):
        return ("" if level else "no_") + field.rsplit(".", 1)[-1].lower()
    text = f"{level:.15g}".replace(".", "") if isinstance(level, int | float) else str(level)
    return re.sub(r"[^a-z0-9]+", "_", text.lower().replace("-", "m" if isinstance(level, int | float) else "_"))


def refuse_uncrossed(
    factors: Mapping[str, tuple[Scalar, ...]],
    cells: Mapping[str, Mapping[str, Scalar]],
    variants: Mapping[str, Mapping[str, Any]],
    factor: tuple[str, ...],
) -> None:
    """Check that cells are combinations of the factors' levels, and that the variants are exactly the cells.

    Raises:
        ValueError: a cell lacks a factor or has an undeclared level, there are fewer than two factors or levels, or
            variants or factor are given beside factors.
    """
    if not factors:
        if cells:
            raise ValueError("cells need factors: dotted field → its levels")
        return
    if len(factors) < 2:
        raise ValueError(f"factors must be two or more; for {', '.join(factors)} alone use variants and factor")
    for field, levels in factors.items():
        if len({repr(level) for level in levels}) != len(levels) or len(levels) < 2:
            raise ValueError(f"factors must have two levels or more, none twice; {field} has {levels}")
    for name, own in cells.items():
        missing = [field for field in factors if field not in own]
        if missing or len(own) != len(factors):
            raise ValueError(f"cells must give each factor ({', '.join(factors)}) a level; {name!r} gives {dict(own)}")
        for field, level in own.items():
            if repr(level) not in map(repr, factors[field]):
                raise ValueError(f"cells must have levels of factors; {name!r} has {field}={level!r}")
    if {name: dict(own) for name, own in variants.items()} != {name: dict(own) for name, own in cells.items()}:
        raise ValueError("variants follow from factors: leave them out, or use cells to name or choose them")
    if factor != tuple(factors):
        raise ValueError("factor follows from factors: leave it out")
