"""Crossed factors: main effects and interactions, seed by seed, and the cells that they come from.

For each seed an effect is one number, a weighted sum of that seed's cells; so the seeds are the blocks, as everywhere,
and all effects of an experiment are tested together by joint sign flips (`reports.family`).
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
from reports.sections import Report
from reports.select import Selection
from reports.statistics import summarize
from reports.tables import p_value, spread
from reports.verdicts import measured, number


@dataclass(frozen=True)
class Effect:
    """A main effect or an interaction, and what the tests say of it; None where no seed has all of its cells."""

    contrast: Contrast
    tested: Tested | None
    lacking: tuple[str, ...]
    """Cells without results, or that the design does not have; empty where the effect can be given."""


def section(report: Report) -> None:
    """What each factor does, and whether it does as much under the other; nothing where no factors are crossed."""
    selection = report.selection
    if not selection.design.cells:
        return
    found = effects(selection)
    report.heading("Effects of the factors")
    report.add(*sentences(selection, found), effects_table(found), cells_table(selection))
    if panels := interaction_panels(selection):
        caption = (
            f"Mean {prose.metric_name(selection)} of each cell, a dot for each run; lines that are not parallel are an "
            "interaction"
        )
        report.draw("interaction", panels[0], caption, *panels[1:])


def effects(selection: Selection) -> list[Effect]:
    """Every effect of the design, tested together with all others that can be given."""
    design, results = selection.design, frames.results(selection)
    made = contrasts(design.cells, design.baseline)
    by_seed = {each.name: _by_seed(each, results) for each in made}
    given = {name: differences for name, differences in by_seed.items() if differences}
    tested = dict(zip(given, judge_together(given, design.smallest_difference_points), strict=True))
    return [Effect(each, tested.get(each.name), () if each.name in given else _lacking(each, results)) for each in made]


def _by_seed(contrast: Contrast, results: dict[str, dict[int, float]]) -> dict[int, float]:
    """Seed → the effect in points, of the seeds at which every cell has a result."""
    if contrast.missing or not contrast.weights.keys() <= results.keys():
        return {}
    seeds = set.intersection(*(set(results[cell]) for cell in contrast.weights))
    made = {seed: sum(w * results[cell][seed] for cell, w in contrast.weights.items()) for seed in sorted(seeds)}
    return {seed: 0.0 if abs(value) < 1e-9 else value for seed, value in made.items()}  # rounding decides no sign


def _lacking(contrast: Contrast, results: dict[str, dict[int, float]]) -> tuple[str, ...]:
    absent = tuple(cell for cell in contrast.weights if cell not in results)
    return (*contrast.missing, *absent) or ("a seed that all of its cells share",)


def sentences(selection: Selection, found: list[Effect]) -> list[Text]:
    """An effect a sentence, and which cannot be given."""
    texts = [
        Text(_sentence(effect.contrast, effect.tested, prose.metric_name(selection)), _runs(selection, effect))
        for effect in found
        if effect.tested
    ]
    lost = [effect for effect in found if not effect.tested]
    if lost:
        cells = "; ".join(dict.fromkeys(cell for effect in lost for cell in effect.lacking))
        names = ", ".join(effect.contrast.name for effect in lost)
        texts.append(Text(f"Missing: {cells}. So these effects cannot be given: {names}.", selection.numbers()))
    if selection.design.looks and texts:
        texts.append(Text("The effects are tested at the seeds there are, as if this were the only look."))
    return texts


def _runs(selection: Selection, effect: Effect) -> tuple[int, ...]:
    return selection.numbers(*effect.contrast.weights)


def _sentence(contrast: Contrast, tested: Tested, metric: str) -> str:
    fields = list(contrast.levels)
    (base, level), size = contrast.levels[fields[0]], measured(abs(tested.mean))
    evidence = f"p = {number(tested.p_adjusted)}, {prose.count(len(tested.differences), 'seed')}"
    if tested.bounds:
        evidence = f"95% interval {number(tested.bounds[0])} to {number(tested.bounds[1])}, {evidence}"
    if len(fields) == 1:
        way = "raises" if tested.mean > 0 else "lowers"
        said = f"{fields[0]} {level} instead of {base} {way} {metric} by {size}"
        return f"{_shown(tested, said, 'main effect')} ({evidence})."
    if len(fields) == 2:
        (other_base, other), other_field = contrast.levels[fields[1]], fields[1]
        more = "more" if tested.mean > 0 else "less"
        said = f"{fields[0]} {level} instead of {base} adds {size} {more} with {other_field} {other} than with "
        said += str(other_base)
        return f"{_shown(tested, said, 'interaction')} ({evidence})."
    return f"{_shown(tested, f'{contrast.name} comes to {number(tested.mean)} points', 'interaction')} ({evidence})."


def _shown(tested: Tested, said: str, kind: str) -> str:
    """The claim where it is shown; otherwise what was seen, and that chance does as much."""
    if tested.verdict in ("better", "worse"):
        return f"Shown, {kind}: {said}"
    if tested.verdict == "equivalent":
        return f"Shown to hardly matter, {kind}: {said}"
    return f"Not decided, {kind}: in these runs {said}"


def effects_table(found: list[Effect]) -> Table:
    """A row an effect."""
    rows = []
    for effect in found:
        t, kind = effect.tested, "main effect" if len(effect.contrast.levels) == 1 else "interaction"
        if t is None:
            rows.append((effect.contrast.name, kind, "cannot be given", None, None, None, None))
            continue
        verdict = {"better": "shown, above 0", "worse": "shown, below 0", "equivalent": "hardly matters"}
        bounds = f"{t.bounds[0]:+.2f} to {t.bounds[1]:+.2f}" if t.bounds else None
        shown = verdict.get(t.verdict, t.verdict)
        rows.append(
            (effect.contrast.name, kind, shown, f"{t.mean:+.2f}", bounds, len(t.differences), p_value(t.p_adjusted))
        )
    given = sum(effect.tested is not None for effect in found)
    return Table(
        ("effect", "kind", "verdict", "points", "95% interval", "seeds", "p"),
        rows,
        "Each level stands in place of the baseline's, averaged over the levels of the other factors. Interaction: by "
        f"how many points the first factor's effect is larger with the second's level. p is corrected for all {given} "
        "effects; the comparisons of single cells with the baseline are a family of their own.",
    )


def cells_table(selection: Selection) -> Table:
    """A row a cell: its levels, and its result over seeds."""
    design, results = selection.design, frames.results(selection)
    factors = list(design.cells[design.baseline])
    rows = []
    for name, own in design.cells.items():
        made = summarize(list(results[name].values())) if name in results else None
        result = spread(made.mean, made.std, 2) if made else None
        rows.append((name, *(str(own[field]) for field in factors), made.n if made else 0, result))
    return Table(
        ("cell", *factors, "seeds", f"{prose.metric_name(selection)} %"), rows, "Mean ± standard deviation over seeds."
    )


def interaction_panels(selection: Selection) -> list[Figure]:
    """A panel a pair of factors: a line a level of the one over the levels of the other, a dot a run."""
    levels, made = levels_of(selection.design.cells, selection.design.baseline), []
    for line, across in combinations(levels, 2):
        figure = new(*(PANEL if len(levels) > 2 else (5.5, 4.0)))
        axes = figure.subplots()
        _lines(axes, selection, (line, levels[line]), (across, levels[across]))
        axes.set(xlabel=across, ylabel=f"{prose.metric_name(selection)} (%)")
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
    return repr(one) == repr(other)  # 1 and True are equal
