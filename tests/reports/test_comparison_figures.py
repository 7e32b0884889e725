"""The answer's figures show the numbers of the comparisons, and join what pairing compares."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

from harness.artifacts.figures import save
from reports import comparison_figures, frames
from reports.statistics import compare
from tests.reports import records

RESULTS = {
    "batch": dict.fromkeys(range(6), 70.0),
    "group": {seed: 71.0 + 0.1 * seed for seed in range(6)},
    "layer": dict.fromkeys(range(6), 69.5),
}


def test_the_forest_shows_differences_means_intervals_and_the_band(tmp_path: Path) -> None:
    """A row a comparison, from the top; no line where there is no interval; the band is what does not matter."""
    made = compare(RESULTS, "batch", 0.5)
    figure = comparison_figures.forest(RESULTS, made)
    (axes,) = figure.axes
    dots = [part for part in axes.collections if isinstance(part, PathCollection)]
    assert [np.asarray(part.get_offsets())[:, 0].tolist() for part in dots] == [
        [RESULTS[v][seed] - 70.0 for seed in range(6)] for v in ("group", "layer")
    ]
    (interval,) = [part for part in axes.collections if isinstance(part, LineCollection)]
    assert np.asarray(interval.get_segments()[0])[:, 0].tolist() == [made[0].ci_low, made[0].ci_high]
    means = [np.asarray(line.get_xdata()).tolist() for line in axes.lines if line.get_marker() == "D"]
    assert means == [[made[0].mean_difference], [made[1].mean_difference]]
    (band,) = axes.patches
    assert band.get_extents().transformed(axes.transData.inverted()).xmin == pytest.approx(-0.5)
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "group\n" + made[0].verdict,
        "layer\n" + made[1].verdict,
    ]
    low, high = axes.get_ylim()
    assert low > high, "the first comparison is on top"
    save(figure, tmp_path / "figure.png")


def test_every_seed_is_a_dot_joined_with_the_baselines(tmp_path: Path) -> None:
    """A panel a variant, in percent, with a bar at each mean: lines lead from the baseline, not from a neighbour."""
    results = frames.results(records.selection(tmp_path, ("batch", "group", "layer")))
    del results["layer"][2]
    panels = comparison_figures.seeds(results, "batch", "test accuracy").axes
    for axes, variant in zip(panels, ("group", "layer"), strict=True):
        assert [label.get_text() for label in axes.get_xticklabels()] == ["batch", variant]
        points = [np.asarray(dots.get_offsets())[:, 1].tolist() for dots in axes.collections[::2]]
        assert points == [list(results[name].values()) for name in ("batch", variant)]
        bars = [np.asarray(bar.get_paths()[0].vertices)[:, 1].tolist() for bar in axes.collections[1::2]]
        assert bars == [[np.mean(list(results[name].values()))] * 2 for name in ("batch", variant)]
        lines = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
        assert lines == [[results["batch"][seed], results[variant][seed]] for seed in sorted(results[variant])]


def test_many_variants_fill_rows_and_one_stands_alone(tmp_path: Path) -> None:
    """Six comparisons take two rows, without empty frames; a single variant is a strip without lines."""
    six = {name: {0: 70.0, 1: 71.0} for name in "abcdefg"}
    figure = comparison_figures.seeds(six, "a", "test accuracy")
    assert len(figure.axes) == 6
    assert figure.get_size_inches()[0] < 11
    (alone,) = comparison_figures.seeds({"a": {0: 70.0, 1: 71.0}}, "a", "test accuracy").axes
    assert not alone.lines
    save(figure, tmp_path / "figure.png")
