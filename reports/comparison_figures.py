"""The figures of a report's answer: differences with their intervals, and the results of all runs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.artifacts.figures import new, plain
from reports.figures import colours
from reports.measured import POINTS, Results, Unit
from reports.statistics import Comparison, paired

COLUMNS = 4


def forest(results: Results, comparisons: Sequence[Comparison], unit: Unit = POINTS) -> Figure:
    """Forest plot: a row per comparison, in their order from the top, with every seed's difference, the mean and its
    95% interval; a band marks differences that are too small to matter."""
    figure = new(6, 1.3 + 0.55 * len(comparisons))
    axes, colour = figure.subplots(), colours(list(results))
    matters = comparisons[0].smallest_difference
    axes.axvspan(-matters, matters, color="0.92", zorder=0, label=f"below {matters:g}: taken not to matter")
    axes.axvline(0, color="0.5", linewidth=1, zorder=1)
    for row, c in enumerate(comparisons):
        differences = paired(results[c.variant], results[c.baseline])
        axes.scatter(differences, np.full(len(differences), row + 0.22), s=14, color=colour[c.variant], alpha=0.55)
        if c.ci_low is not None and c.ci_high is not None:
            axes.hlines(row, c.ci_low, c.ci_high, color=colour[c.variant], linewidth=2.5)
        axes.plot(c.mean_difference, row, "D", color=colour[c.variant], markersize=7)
    axes.set_yticks(range(len(comparisons)), [f"{plain(c.variant)}\n{c.verdict}" for c in comparisons])
    label = unit.of(f"difference from {plain(comparisons[0].baseline)}")
    axes.set(xlabel=label, ylim=(len(comparisons) - 0.4, -0.6))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, fontsize=9)
    return figure


def seeds(results: Results, baseline: str, metric: str, unit: Unit = POINTS) -> Figure:
    """Every run's result as a dot, each variant next to the baseline, with lines between the two runs of a seed.

    Args:
        metric: the name of the metric in words.
    """
    others = [variant for variant in results if variant != baseline]
    panels = others or [baseline]
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = new(max(4.0, 2.3 * columns + 0.7), 3.6 * rows)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for unused in list(grid.flat)[len(panels) :]:
        unused.remove()
    colour = colours(list(results))
    for axes, variant in zip(grid.flat, panels, strict=False):
        names = [baseline, variant] if others else [baseline]
        for seed in sorted(results[variant].keys() & results[baseline].keys()) if others else ():
            axes.plot([0, 1], [results[name][seed] for name in names], color="0.8", zorder=1, linewidth=1)
        for position, name in enumerate(names):
            _strip(axes, position, list(results[name].values()), colour[name])
        axes.set_xticks(range(len(names)), [plain(name) for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
    for row in grid:
        row[0].set(ylabel=f"{metric} ({unit.sign})" if unit.sign else metric)
    return figure


def _strip(axes: Axes, position: int, values: Sequence[float], colour: tuple[float, float, float]) -> None:
    axes.scatter([position] * len(values), values, color=colour, zorder=2)
    axes.hlines(float(np.mean(values)), position - 0.2, position + 0.2, color=colour, zorder=3)
