"""The figures of training and of confidence show every variant's runs."""

from pathlib import Path

import numpy as np

from reports import figures
from tests.reports import records


def test_lines_that_coincide_show_through_each_other() -> None:
    """The second of two has gaps half of the time; a line of its own has none."""
    same, other = np.array([0.5, 0.25]), np.array([0.5, 0.3])
    styles = figures.dashes({"a": same, "b": other, "c": same + 1e-9})
    assert styles == {"a": "-", "b": "-", "c": (0, (6.0, 6.0))}


def test_curves_are_panels_over_whole_epochs(tmp_path: Path) -> None:
    """One figure a measure, so that narrow pages stack them; no tick lies between two epochs."""
    selection = records.selection(tmp_path)
    panels = [panel.axes[0] for panel in figures.curves(selection)]
    assert [axes.get_ylabel() for axes in panels] == ["test accuracy (%)", "test loss", "training loss"]
    for axes in panels:
        assert len(axes.lines) == 2
        assert axes.get_legend()
        assert all(float(tick).is_integer() for tick in axes.get_xticks())
    accuracy = np.mean([[100 * done.test.accuracy for done in run.epochs] for run in selection.variants["batch"]], 0)
    np.testing.assert_allclose(np.asarray(panels[0].lines[0].get_ydata()), accuracy)
