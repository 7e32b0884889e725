"""Figures of reports stay pictures whatever a data set's classes and the variants' costs are."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from harness.artifacts.figures import save
from harness.records.record import Record
from reports import figures, frames
from tests.reports import records

CLASSES = {"endless": ("x" * 255, "=1+1", "$x$"), "many": tuple(f"class {number}" for number in range(100))}


@pytest.mark.parametrize("kind", CLASSES)
def test_classes_leave_room_for_the_picture(tmp_path: Path, kind: str) -> None:
    """Names that are cut, and a hundred classes: no side is longer than a screen or two, and nothing collapses
    (matplotlib would warn)."""
    made = records.selection(tmp_path)
    for figure in (
        figures.per_class(made.variants, "batch", CLASSES[kind]),
        figures.confusion_difference(made.variants, "group", "batch", CLASSES[kind]),
    ):
        assert max(figure.get_size_inches()) < 31
        if kind == "endless":  # a hundred labels take seconds to draw
            save(figure, tmp_path / "figure.png")
            assert min(figure.axes[0].get_position().size) > 0.2


def relabelled(folder: Path, classes: int, labels: range) -> dict[str, list[Record]]:
    """A run of either variant with so many classes, whose 40 test images have these labels in turn."""
    made = {}
    for variant in ("batch", "group"):
        run = records.record(folder, variant, 0)
        true = np.resize(np.arange(labels.start, labels.stop), records.IMAGES)
        logits = np.random.default_rng(len(made)).normal(size=(records.IMAGES, classes)).astype(np.float32)
        run.__dict__.update(labels=true, logits=logits, correct=logits.argmax(1) == true)
        made[variant] = [run]
    return made


def test_a_class_without_test_images_stays_empty(tmp_path: Path) -> None:
    """Its accuracy is no number, and spoils neither the others nor the scale."""
    runs = relabelled(tmp_path, 3, range(2))
    figure = figures.per_class(runs, "batch", records.CLASSES)
    low, high = figure.axes[0].collections[0].get_clim()
    assert -low == high > 1
    save(figure, tmp_path / "figure.png")


def drawn(figure: Figure) -> list[list[float]]:
    """The cells of a heat map."""
    return np.asarray(figure.axes[0].collections[0].get_array()).tolist()


def test_differences_are_the_variants_minus_the_baselines(tmp_path: Path) -> None:
    """Of two classes with 20 images each, "batch" is right on all of one, "group" on all of the other."""
    runs = relabelled(tmp_path, 2, range(2))
    for always, variant in enumerate(runs):
        (run,) = runs[variant]
        logits = np.tile(np.eye(2, dtype=np.float32)[always], (records.IMAGES, 1))
        run.__dict__.update(logits=logits, correct=logits.argmax(1) == run.labels)
    assert drawn(figures.per_class(runs, "batch", records.CLASSES[:2])) == [[-100, 100]]
    assert drawn(figures.confusion_difference(runs, "group", "batch", records.CLASSES[:2])) == [[-20, 20], [-20, 20]]


def test_every_seed_is_a_dot_at_its_result(tmp_path: Path) -> None:
    """In percent, with a bar at each variant's mean."""
    results = frames.results(records.selection(tmp_path))
    seeds = figures.seeds(results, "batch", "test accuracy")
    points = [np.asarray(dots.get_offsets())[:, 1].tolist() for dots in seeds.axes[0].collections[::2]]
    assert points == [list(runs.values()) for runs in results.values()]
    bars = [np.asarray(bar.get_paths()[0].vertices)[:, 1].tolist() for bar in seeds.axes[0].collections[1::2]]
    assert bars == [[np.mean(list(runs.values()))] * 2 for runs in results.values()]


def test_lines_that_coincide_show_through_each_other() -> None:
    """The second of two has gaps half of the time; a line of its own has none."""
    same, other = np.array([0.5, 0.25]), np.array([0.5, 0.3])
    styles = figures.dashes({"a": same, "b": other, "c": same + 1e-9})
    assert styles == {"a": "-", "b": "-", "c": (0, (6.0, 6.0))}
