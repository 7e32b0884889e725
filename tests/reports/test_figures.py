"""Figures of reports stay pictures whatever a data set's classes are."""

from pathlib import Path

import pytest

from harness.figures import save
from reports import figures
from tests.reports.records import selection

CLASSES = {"endless": ("x" * 255, "=1+1", "$x$"), "many": tuple(f"class {number}" for number in range(100))}


@pytest.mark.parametrize("kind", CLASSES)
def test_classes_leave_room_for_the_picture(tmp_path: Path, kind: str) -> None:
    """Names that are cut, and a hundred classes: no side is longer than a screen or two, and nothing collapses
    (matplotlib would warn)."""
    made = selection(tmp_path)
    for figure in (
        figures.per_class(made.variants, "batch", CLASSES[kind]),
        figures.confusion_difference(made.variants, "group", "batch", CLASSES[kind]),
    ):
        assert max(figure.get_size_inches()) < 31
        if kind == "endless":  # a hundred labels take seconds to draw
            save(figure, tmp_path / "figure.png")
            assert min(figure.axes[0].get_position().size) > 0.2
