"""The figures of a run show the run's own numbers, and text as it is."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import confusion_matrix as counts_of

from harness.artifacts import figures
from harness.records.events import EpochDone, Event, LRFound, Scores

HOSTILE = ("$x^2$", r"a\$b", "$", r"\frac{1}{2}", "<b>&amp;", "_cat %s")
"""Class names that are a formula, half of one, TeX, markup or a format elsewhere."""


@pytest.fixture
def epochs(events: list[Event]) -> list[EpochDone]:
    return [event for event in events if isinstance(event, EpochDone)]


def drawn(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Every string that reaches the canvas, and whether it is drawn as a formula."""
    seen: list[tuple[str, Any]] = []
    plain = RendererAgg.draw_text

    def spy(self: RendererAgg, gc: Any, x: Any, y: Any, s: str, prop: Any, angle: Any, ismath: Any = False, mtext=None):
        seen.append((s, ismath))
        return plain(self, gc, x, y, s, prop, angle, ismath, mtext)

    monkeypatch.setattr(RendererAgg, "draw_text", spy)
    figure.canvas.draw()
    return seen


def misclassified_table() -> pd.DataFrame:
    other = (*HOSTILE[1:], HOSTILE[0])
    return pd.DataFrame({"index": range(6), "true": HOSTILE, "predicted": other, "confidence": [0.987] * 6})


@pytest.mark.parametrize("kind", ["confusion_matrix", "per_class_accuracy", "misclassified", "grid"])
def test_class_names_are_drawn_literally(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name becomes a formula or loses a character, wherever names are shown."""
    labels = np.arange(6)
    figure = {
        "confusion_matrix": lambda: figures.confusion_matrix(labels, labels, HOSTILE),
        "per_class_accuracy": lambda: figures.per_class_accuracy(labels, labels, HOSTILE),
        "misclassified": lambda: figures.misclassified(misclassified_table(), np.zeros((6, 4, 4, 3), np.float32)),
        "grid": lambda: figures.grid(np.zeros((6, 4, 4, 3), np.float32), HOSTILE, "Names"),
    }[kind]()
    texts = drawn(figure, monkeypatch)
    counted = " (n = 1)" if kind == "per_class_accuracy" else ""
    for name in HOSTILE:
        assert (name + counted, False) in texts
    assert not any(ismath for _, ismath in texts)


@pytest.mark.parametrize("kind", ["confusion_matrix", "per_class_accuracy"])
def test_an_endless_class_name_leaves_room_for_the_picture(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut, and the axes keep a fifth of the figure's width (matplotlib would warn, and draw none)."""
    labels = np.arange(2)
    figure = getattr(figures, kind)(labels, labels, ("x" * 255, "y"))
    counted = " (n = 1)" if kind == "per_class_accuracy" else ""
    assert ("x" * 29 + "…" + counted, False) in drawn(figure, monkeypatch)
    assert figure.axes[0].get_position().width > 0.2


def test_misclassified_shows_each_image_under_its_classes() -> None:
    """Images in order, untouched, above the other with true class, predicted class and confidence."""
    images = np.random.default_rng(0).random((6, 4, 4, 3), np.float32)
    figure = figures.misclassified(misclassified_table(), images)
    for image, drawn in zip(images, figure.axes[0].images, strict=True):
        np.testing.assert_array_equal(np.asarray(drawn.get_array()), image)
        assert drawn.get_clim() == (0, 1)
    assert figure.axes[0].texts[4].get_text() == "<b>&amp;\n→ _cat %s 99%"


def test_a_run_without_mistakes_says_so() -> None:
    """An empty table gives a figure that says "none", not an error."""
    nothing = np.zeros((0, 4, 4, 3), np.float32)
    figure = figures.misclassified(misclassified_table().head(0), nothing)
    assert figure.get_suptitle() == "Test images the model gets wrong, most confident first: none"
    assert not figure.axes[0].images


def test_grey_images_are_grey() -> None:
    """One channel is drawn on a grey scale from black to white, not in matplotlib's colours."""
    axes = figures.grid(np.full((1, 4, 4, 1), 0.5, np.float32), ["cat"], "Grey").axes[0]
    assert axes.images[0].get_cmap().name == "gray"
    assert np.asarray(axes.images[0].get_array()).shape == (4, 4)


def test_confusion_matrix_and_class_accuracy_are_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are true classes, columns predictions, as in scikit-learn; a class without test images has no accuracy."""
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    names = ("cat", "dog", "owl", "yak")
    figure = figures.confusion_matrix(labels, predicted, names)
    expected = counts_of(labels, predicted, labels=range(4))
    cells: Any = figure.axes[0].collections[0].get_array()
    np.testing.assert_array_equal(cells.reshape(4, 4), expected)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("predicted", "true")
    texts = [text for text, _ in drawn(figure, monkeypatch)]
    assert [text for text in texts if text in names] == [*names, *names]
    bars: Any = figures.per_class_accuracy(labels, predicted, names).axes[0].patches
    shares = expected.diagonal()[:3] / expected.sum(1)[:3]
    assert [bar.get_width() for bar in bars] == pytest.approx([*(100 * shares), np.nan], nan_ok=True)


def many(classes: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Ten test images a class, but none of the last; of class 7 all wrong, taken for class 3, of class 9 half for 2."""
    labels = np.repeat(np.arange(classes - 1), 10)
    predicted = labels.copy()
    predicted[labels == 7], predicted[95:100] = 3, 2
    return labels, predicted, tuple(f"class {label}" for label in range(classes))


def test_a_thousand_classes_are_drawn_in_two_seconds(tmp_path: Path) -> None:
    """Both figures together, written."""
    begun = time.process_time()
    figures.save(figures.confusion_matrix(*many(1000)), tmp_path / "a.png")
    figures.save(figures.per_class_accuracy(*many(1000)), tmp_path / "b.png")
    assert time.process_time() - begun < 4


@pytest.mark.parametrize("kind", ["confusion_matrix", "per_class_accuracy", "misclassified", "grid"])
def test_a_script_that_the_font_lacks_warns_of_nothing(kind: str, tmp_path: Path) -> None:
    """Class names in Chinese, Hebrew and emoji: figures are written without a warning (which would fail this test)."""
    labels, names = np.arange(3), ("鳥", "דג🐟", "กา")
    wrong = pd.DataFrame({"index": range(3), "true": names, "predicted": names, "confidence": [0.5] * 3})
    images = np.zeros((3, 4, 4, 3), np.float32)
    figure = {
        "confusion_matrix": lambda: figures.confusion_matrix(labels, labels, names),
        "per_class_accuracy": lambda: figures.per_class_accuracy(labels, labels, names),
        "misclassified": lambda: figures.misclassified(wrong, images),
        "grid": lambda: figures.grid(images, names, "鳥"),
    }[kind]()
    figures.save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_epoch_axes_have_whole_numbers(epochs: list[EpochDone], count: int) -> None:
    """No tick at epoch 1.25, however few epochs there are."""
    few = [epochs[0].model_copy(update={"epoch": epoch}) for epoch in range(1, count + 1)]
    for axes in figures.curves(few).axes:
        ticks = axes.get_xticks()
        assert np.array_equal(ticks, np.round(ticks))


def test_curves_show_every_split_that_there_is(epochs: list[EpochDone]) -> None:
    """Loss and percent by epoch; validation appears when it was held out."""
    loss, accuracy = figures.curves(epochs).axes
    assert [line.get_label() for line in loss.lines] == ["train", "test"]
    np.testing.assert_array_equal(loss.lines[1].get_xydata(), [[1, 1.5], [2, 0.75]])
    np.testing.assert_array_equal(accuracy.lines[0].get_xydata(), [[1, 40.0], [2, 80.0]])
    held_out = [done.model_copy(update={"validation": Scores(loss=3.0, accuracy=0.1)}) for done in epochs]
    assert [line.get_label() for line in figures.curves(held_out).axes[0].lines] == ["train", "validation", "test"]


def test_rates_and_range_test_are_drawn_as_recorded(epochs: list[EpochDone], events: list[Event]) -> None:
    """Every step's rate in order; the sweep's curve on a logarithmic axis with a line at the suggestion."""
    rates: Any = figures.learning_rate(epochs).axes[0].lines[0].get_ydata()
    assert rates.tolist() == [0.1, 0.11, 0.12, 0.13, 0.14, 0.2, 0.21, 0.22, 0.23, 0.24]
    found = events[1]
    assert isinstance(found, LRFound)
    axes = figures.lr_finder(found).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0.001, 1.2], [0.01, 0.9], [0.1, 1.5]])
    np.testing.assert_array_equal(axes.lines[1].get_xdata(), [0.01, 0.01])
    assert axes.get_xscale() == "log"


def test_a_figure_is_the_same_bytes_twice(epochs: list[EpochDone], tmp_path: Path) -> None:
    """A report drawn again from the same run does not change in version control."""
    for name in ("a.png", "b.png"):
        figures.save(figures.curves(epochs), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_thousand_classes_are_drawn_fast_and_only_what_stands_out() -> None:
    """The pairs confused most and the least accurate classes, each with its counts: 140 s a figure before."""
    began = time.monotonic()
    labels, names = np.repeat(np.arange(1000), 2), tuple(f"class {number}" for number in range(1000))
    predicted = labels.copy()
    predicted[:60:2] += 1  # one image of each of the first thirty classes
    predicted[1] = 1  # both images of the first
    confused = figures.confusion_matrix(labels, predicted, names).axes[0]
    assert confused.get_yticklabels()[0].get_text() == "class 0 → class 1"
    assert [bar.get_width() for bar in confused.patches][:3] == [2, 1, 1]  # pyright: ignore[reportAttributeAccessIssue]
    assert confused.get_title() == "the 20 pairs of 1,000 classes confused most (true → predicted)"
    figure = figures.per_class_accuracy(labels, predicted, names)
    assert figure.axes[0].get_yticklabels()[0].get_text() == "class 0 (n = 2)"
    assert len(figure.axes[0].patches) == figures.READABLE
    figure.canvas.draw()
    assert time.monotonic() - began < 10


def test_epochs_are_whole_numbers(epochs: list[EpochDone]) -> None:
    """No tick between two epochs, of a run of two or of one."""
    for told in (epochs, epochs[:1]):
        figure = figures.curves(told)
        for axes in figure.axes:
            assert all(float(tick).is_integer() for tick in axes.get_xticks()), axes.get_xticks()


def test_a_small_figure_is_the_same_picture_in_half_the_space(tmp_path: Path, epochs: list[EpochDone]) -> None:
    """256 colours: no pixel is off by more than a reader could see, on average far less."""
    for small in (False, True):
        figures.save(figures.curves(epochs), tmp_path / f"{small}.png", small=small)
    whole, small = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"), float) for name in (False, True))
    assert np.abs(whole - small).mean() < 0.5
    assert (tmp_path / "True.png").stat().st_size < 0.5 * (tmp_path / "False.png").stat().st_size
