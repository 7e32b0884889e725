"""Factorial designs: main effects and interactions, and the cells that they are computed from.

For each seed an effect is one number, a weighted sum of that seed's cells. The seeds are therefore blocks, as in other
comparisons, and all effects of an experiment are tested together by joint sign flips (`reports.family`).
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.artifacts.figures import new, plain
from harness.plans.contrasts import Contrast, contrasts, levels_of
from harness.values import Scalar
from reports import frames, prose
from reports.document import Table, Text
from reports.family import Tested, judge_together
from reports.figures import PANEL, colours
from reports.measured import Unit
from reports.sections import Report
from reports.select import Selection
from reports.statistics import summarize
from reports.tables import p_value, rounded, spread
from reports.verdicts import measured, number


@dataclass(frozen=True)
class Effect:
    """A main effect or an interaction with its test; `tested` is None if no seed has all of its cells."""

    contrast: Contrast
    tested: Tested | None
    lacking: tuple[str, ...]
    """Cells that have no results or are not part of the design; empty if the effect can be estimated."""


def section(report: Report) -> None:
    """Add the section on main effects and interactions; nothing if the design is not factorial."""
    selection = report.selection
    if not selection.design.cells:
        return
    found = effects(selection)
    report.heading("Effects of the factors")
    unit = frames.unit(selection.design.primary_metric)
    report.add(*sentences(selection, found), effects_table(found, unit), cells_table(selection))
    if panels := interaction_panels(selection):
        caption = (
            f"Mean {prose.metric_name(selection)} of each cell, a dot for each run; lines that are not parallel are an "
            "interaction"
        )
        report.draw("interaction", panels[0], caption, *panels[1:])


def effects(selection: Selection) -> list[Effect]:
    """Every effect of the design; all that can be estimated are tested together."""
    design, results = selection.design, frames.results(selection)
    made = contrasts(design.cells, design.baseline)
    by_seed = {each.name: _by_seed(each, results) for each in made}
    given = {name: differences for name, differences in by_seed.items() if differences}
    tested = dict(zip(given, judge_together(given, design.smallest_difference_points), strict=True))
    return [Effect(each, tested.get(each.name), () if each.name in given else _lacking(each, results)) for each in made]


def _by_seed(contrast: Contrast, results: dict[str, dict[int, float]]) -> dict[int, float]:
    """Seed → the effect in the unit of differences, for seeds at which every cell has a result."""
    if contrast.missing or not contrast.weights.keys() <= results.keys():
        return {}
    seeds = set.intersection(*(set(results[cell]) for cell in contrast.weights))
    parts = {seed: [w * results[cell][seed] for cell, w in contrast.weights.items()] for seed in sorted(seeds)}
    level = {seed: abs(sum(part)) <= 1e-12 * sum(map(abs, part)) for seed, part in parts.items()}
    return {seed: 0.0 if level[seed] else sum(part) for seed, part in parts.items()}  # rounding has no sign


def _lacking(contrast: Contrast, results: dict[str, dict[int, float]]) -> tuple[str, ...]:
    absent = tuple(cell for cell in contrast.weights if cell not in results)
    return (*contrast.missing, *absent) or ("a seed that all of its cells share",)


def sentences(selection: Selection, found: list[Effect]) -> list[Text]:
    """A sentence per effect, and one on effects that cannot be estimated."""
    texts = [
        Text(_sentence(effect, effect.tested, selection), selection.numbers(*effect.contrast.weights))
        for effect in found
        if effect.tested
    ]
    lost = [effect for effect in found if not effect.tested]
    if lost:
        cells = "; ".join(dict.fromkeys(cell for effect in lost for cell in effect.lacking))
        names = ", ".join(effect.contrast.name for effect in lost)
        texts.append(Text(f"Missing: {cells}. These effects cannot be estimated: {names}.", selection.numbers()))
    if selection.design.looks and texts:
        texts.append(Text("The effects are tested at the seeds there are, as if this were the only look."))
    return texts


def _sentence(effect: Effect, tested: Tested, selection: Selection) -> str:
    contrast, metric = effect.contrast, prose.metric_name(selection)
    unit = frames.unit(selection.design.primary_metric)
    evidence = f"p = {number(tested.p_adjusted)}, {prose.count(len(tested.differences), 'seed')}"
    if tested.bounds:
        low, high = (bound or 0.0 for bound in tested.bounds)  # not minus 0
        evidence = f"95% interval {number(low)} to {number(high)}, {evidence}"
    *others, (field, (base, level)) = contrast.levels.items()
    changes = f"{field} {level} instead of {base}"
    if not others:
        way = "raises" if tested.mean > 0 else "lowers" if tested.mean < 0 else "changes"
        return f"{_verdict(tested)}: {changes} {way} {metric} by {measured(abs(tested.mean), unit)} ({evidence})."
    if len(others) > 1:
        size = measured(tested.mean, unit)
        return f"{_verdict(tested)}: the interaction {contrast.name} in {metric} is {size} ({evidence})."
    ((other, (other_base, other_level)),) = others
    first, then = (_simple(effect, selection, other, at) for at in (other_base, other_level))
    apart = f"{measured(abs(tested.mean), unit)} {'higher' if tested.mean > 0 else 'lower'}"
    return (
        f"{_verdict(tested)}: {changes} changes {metric} by {measured(first, unit)} with {other} {other_base} and by "
        f"{number(then)} with {other_level}, {apart} ({evidence})."
    )


def _simple(effect: Effect, selection: Selection, field: str, at: Scalar) -> float:
    """For an interaction of two factors: the mean effect of one factor at a level of the other."""
    contrast, design, results = effect.contrast, selection.design, frames.results(selection)
    sign = -1 if _is(at, contrast.levels[field][0]) else 1
    here = {cell: sign * w for cell, w in contrast.weights.items() if _is(design.cells[cell][field], at)}
    seeds = set.intersection(*(set(results[cell]) for cell in contrast.weights))
    return float(np.mean([sum(w * results[cell][seed] for cell, w in here.items()) for seed in sorted(seeds)]))


def _verdict(tested: Tested) -> str:
    """The verdict on an effect, as the beginning of its sentence."""
    words = {"better": "Shown", "worse": "Shown", "equivalent": "Shown to matter too little"}
    return words.get(tested.verdict, "Not decided, in these runs")


def effects_table(found: list[Effect], unit: Unit) -> Table:
    """A table with a row per effect, in this unit."""
    rows = []
    for effect in found:
        t, kind = effect.tested, "main effect" if len(effect.contrast.levels) == 1 else "interaction"
        if t is None:
            rows.append((effect.contrast.name, kind, "cannot be estimated", None, None, None, None))
            continue
        verdict = {"better": "shown, above 0", "worse": "shown, below 0", "equivalent": "hardly matters"}
        bounds = " to ".join(_signed(bound, unit) for bound in t.bounds) if t.bounds else None
        shown = verdict.get(t.verdict, t.verdict)
        size = _signed(t.mean, unit)
        rows.append((effect.contrast.name, kind, shown, size, bounds, len(t.differences), p_value(t.p_adjusted)))
    given = sum(effect.tested is not None for effect in found)
    return Table(
        ("effect", "kind", "verdict", unit.many or "size", "95% interval", "seeds", "p"),
        rows,
        "Each level stands in place of the baseline's, averaged over the levels of the other factors. Interaction: by "
        f"how much one factor's effect is larger with the other's level. p is corrected for all {given} "
        "effects; the comparisons of single cells with the baseline are a family of their own.",
    )


def cells_table(selection: Selection) -> Table:
    """A table with a row per cell: its levels, and its result over seeds."""
    design, results = selection.design, frames.results(selection)
    factors, sign = list(design.cells[design.baseline]), frames.unit(design.primary_metric).sign
    rows = []
    for name, own in design.cells.items():
        made = summarize(list(results[name].values())) if name in results else None
        written = made and (spread(made.mean, made.std, 2) if sign else rounded(made.mean, made.std))
        rows.append((name, *(str(own[field]) for field in factors), made.n if made else 0, written))
    title = f"{prose.metric_name(selection)} {sign}".rstrip()
    return Table(("cell", *factors, "seeds", title), rows, "Mean ± standard deviation over seeds.")


def interaction_panels(selection: Selection) -> list[Figure]:
    """Interaction plots, a panel per pair of factors: a line per level of one over the levels of the other."""
    levels, made = levels_of(selection.design.cells, selection.design.baseline), []
    for line, across in combinations(levels, 2):
        figure = new(*(PANEL if len(levels) > 2 else (5.5, 4.0)))
        axes = figure.subplots()
        _lines(axes, selection, (line, levels[line]), (across, levels[across]))
        sign = frames.unit(selection.design.primary_metric).sign
        axes.set(xlabel=across, ylabel=f"{prose.metric_name(selection)}{f' ({sign})' if sign else ''}")
        axes.legend(title=line)
        made.append(figure)
    return made


def _lines(axes: Axes, selection: Selection, line: tuple[str, list[Scalar]], across: tuple[str, list[Scalar]]) -> None:
    results, cells = frames.results(selection), selection.design.cells
    colour = colours([str(level) for level in line[1]])
    for n, level in enumerate(line[1]):
        shift, means = 0.04 * (n - (len(line[1]) - 1) / 2), []
        for place, other in enumerate(across[1]):
            here = [cell for cell, own in cells.items() if _is(own[line[0]], level) and _is(own[across[0]], other)]
            found = [np.mean(list(results[cell].values())) for cell in here if cell in results]
            means.append(float(np.mean(found)) if here and len(found) == len(here) else np.nan)
            runs = [value for cell in here for value in results.get(cell, {}).values()]
            axes.scatter([place + shift] * len(runs), runs, s=10, alpha=0.4, color=colour[str(level)])
        axes.plot(np.arange(len(means)) + shift, means, marker="D", color=colour[str(level)], label=plain(str(level)))
    axes.set_xticks(range(len(across[1])), [plain(str(level)) for level in across[1]])


def _is(one: Scalar, other: Scalar) -> bool:
    return repr(one) == repr(other)  # repr, because 1 == True


def _signed(value: float, unit: Unit) -> str:
    return unit.signed(round(value, 2) + 0.0 if unit.sign else value + 0.0)  # not -0.00
