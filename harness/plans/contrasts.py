"""Main effects and interactions of a factorial design, as weighted sums of cell means."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, product

from harness.values import Scalar

Cells = Mapping[str, Mapping[str, Scalar]]


@dataclass(frozen=True)
class Contrast:
    """One effect: some factors take another level than the baseline's, averaged over all levels of the other factors.

    With one factor it is a main effect; with two, an interaction (how much the effect of one factor changes with the
    level of the other); with three, a three-way interaction.
    """

    levels: Mapping[str, tuple[Scalar, Scalar]]
    """Dotted field → (the baseline's level, the level it is compared with)."""
    weights: Mapping[str, float]
    """Cell → its weight; the weights sum to 0."""
    missing: tuple[str, ...]
    """Cells, described by their levels, that the effect needs but the design lacks; if any, it cannot be estimated."""

    @property
    def name(self) -> str:
        """For example "model.norm group" or "model.norm group × model.dropout 0.1"."""
        return " × ".join(f"{field} {instead}" for field, (_, instead) in self.levels.items())


def contrasts(cells: Cells, baseline: str) -> list[Contrast]:
    """Every effect of a design: main effects first, then interactions of two factors, of three, and so on.

    Args:
        cells: variant → its level of each factor.
        baseline: the cell that effects are measured from.
    """
    levels = levels_of(cells, baseline)
    made = []
    for size in range(1, len(levels) + 1):
        for fields in combinations(levels, size):
            for instead in product(*(levels[field][1:] for field in fields)):
                made.append(_contrast(cells, levels, dict(zip(fields, instead, strict=True))))
    return made


def levels_of(cells: Cells, baseline: str) -> dict[str, list[Scalar]]:
    """Factor → its levels, with the baseline's level first."""
    found: dict[str, list[Scalar]] = {}
    for own in (cells[baseline], *cells.values()):
        for field, level in own.items():
            known = found.setdefault(field, [])
            if repr(level) not in map(repr, known):  # repr, because 1 == True
                known.append(level)
    return found


def _contrast(cells: Cells, levels: Mapping[str, list[Scalar]], instead: Mapping[str, Scalar]) -> Contrast:
    named = {_key(own, levels): name for name, own in cells.items()}
    others = [field for field in levels if field not in instead]
    share = 1 / math.prod(len(levels[field]) for field in others)
    weights: dict[str, float] = {}
    missing: list[str] = []
    for rest in product(*(levels[field] for field in others)):
        for taken in product((False, True), repeat=len(instead)):
            own = dict(zip(others, rest, strict=True))
            own |= {f: instead[f] if new else levels[f][0] for f, new in zip(instead, taken, strict=True)}
            name = named.get(_key(own, levels))
            if name is None:
                missing.append(" with ".join(f"{field} {own[field]}" for field in levels))
            else:
                weights[name] = (-1) ** taken.count(False) * share
    pairs = {field: (levels[field][0], level) for field, level in instead.items()}
    return Contrast(pairs, weights, tuple(dict.fromkeys(missing)))


def _key(own: Mapping[str, Scalar], levels: Mapping[str, list[Scalar]]) -> tuple[str, ...]:
    return tuple(repr(own[field]) for field in levels)
