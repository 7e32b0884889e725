"""Classes show how many images they have, claim nothing of few, and of many only what changes most."""

import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from harness.artifacts.figures import READABLE, save
from reports import classes
from reports.select import Selection
from tests.reports import records

NAMES = {"endless": ("x" * 255, "=1+1", "$x$"), "many": tuple(f"class {number}" for number in range(100))}


def of_classes(
    folder: Path, names: tuple[str, ...], labels: np.ndarray, variants: tuple[str, ...] = ("batch", "group")
) -> Selection:
    """A run of each variant on test images with these labels; predictions are right but where a test changes them."""
    selection = records.selection(folder, variants, (0,))
    for record in selection.records:
        data = record.started.data.model_copy(update={"classes": names, "test_images": len(labels)})
        logits = np.eye(len(names), dtype=np.float32)[labels]
        assert record.predictions
        np.savez(record.predictions, logits=logits, labels=labels)
        record.__dict__["started"] = record.started.model_copy(update={"data": data})
    return selection


def mistake(selection: Selection, variant: str, image: int, predicted: int) -> None:
    """Let the variant's run take an image for another class."""
    (run,) = selection.variants[variant]
    assert run.predictions
    logits, labels = run.logits, run.labels
    logits[image] = np.eye(logits.shape[1])[predicted]
    np.savez(run.predictions, logits=logits, labels=labels)


def drawn(figure: Figure | None) -> list[list[float]]:
    """The cells of a heat map."""
    assert figure
    return np.asarray(figure.axes[0].collections[0].get_array()).tolist()


def test_differences_are_the_variants_minus_the_baselines(tmp_path: Path) -> None:
    """Of two classes with 20 images each, "batch" is right on all of one, "group" on all of the other."""
    selection = of_classes(tmp_path, ("cat", "dog"), np.arange(40) % 2)
    for always, variant in enumerate(("batch", "group")):
        for image in range(40):
            mistake(selection, variant, image, always)
    figure = classes.differences(selection)
    assert drawn(figure) == [[-100, 100]]
    assert figure
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["cat (n = 20)", "dog (n = 20)"]
    runs = selection.answers
    changed = classes.confusion_difference(runs["group"], runs["batch"], ("cat", "dog"))
    assert drawn(changed) == [[-20, 20], [-20, 20]]
    table = classes.table(selection)
    assert table.columns == ("class", "test images", "batch %", "group %")
    assert table.rows == [("cat", "20", "100.0", "0.0"), ("dog", "20", "0.0", "100.0")]
    assert "fewer than" not in table.caption


def test_a_class_of_few_images_claims_nothing(tmp_path: Path) -> None:
    """ "-33 points" of six images: the count is shown and no accuracy, in table and figure; ten images are enough."""
    labels = np.array([0] * 24 + [1] * 10 + [2] * 6)
    selection = of_classes(tmp_path, records.CLASSES, labels)
    mistake(selection, "group", 25, 0)
    mistake(selection, "group", 39, 0)
    mistake(selection, "group", 38, 0)
    table = classes.table(selection)
    assert table.rows == [
        ("cat", "24", "100.0", "100.0"),
        ("dog", "10", "100.0", "90.0"),
        ("eel", "6", None, None),
    ]
    assert table.caption.endswith(
        "Of 1 class with fewer than 10 test images no accuracy is shown: so few images tell nothing."
    )
    figure = classes.differences(selection)
    np.testing.assert_equal(drawn(figure), [[0, -10, np.nan]])
    assert figure
    assert figure.axes[0].get_xticklabels()[2].get_text() == "eel (n = 6)"


def test_a_test_set_of_few_images_a_class_has_no_figure(tmp_path: Path) -> None:
    """Counts alone remain, of all classes."""
    selection = of_classes(tmp_path, records.CLASSES, np.arange(12) % 3)
    assert classes.differences(selection) is None
    assert classes.table(selection).rows == [(name, "4", None, None) for name in records.CLASSES]


def test_a_class_without_test_images_stays_empty(tmp_path: Path) -> None:
    """Its accuracy is no number, and spoils neither the others nor the scale."""
    selection = of_classes(tmp_path, records.CLASSES, np.arange(40) % 2)
    mistake(selection, "group", 0, 1)
    figure = classes.differences(selection)
    assert figure
    low, high = figure.axes[0].collections[0].get_clim()
    assert -low == high == 5
    assert classes.table(selection).rows[2] == ("eel", "0", None, None)
    save(figure, tmp_path / "figure.png")


@pytest.mark.parametrize("kind", NAMES)
def test_classes_leave_room_for_the_picture(tmp_path: Path, kind: str) -> None:
    """Names that are cut, and a hundred classes: no side is longer than a screen or two, and nothing collapses
    (matplotlib would warn)."""
    names = NAMES[kind]
    selection = of_classes(tmp_path, names, np.repeat(np.arange(len(names)), 10))
    mistake(selection, "group", 0, 1)
    runs = selection.answers
    for figure in (
        classes.differences(selection),
        classes.confusion_difference(runs["group"], runs["batch"], names),
    ):
        assert figure
        assert max(figure.get_size_inches()) < 20
        save(figure, tmp_path / "figure.png")
        assert min(figure.axes[0].get_position().size) > 0.2


def test_a_thousand_classes_show_what_changes_most_in_two_seconds(tmp_path: Path) -> None:
    """Twenty classes and twenty confusions, the most changed first; of a single variant the least accurate."""
    names = tuple(f"class {number}" for number in range(1000))
    labels = np.repeat(np.arange(1000), 10)
    selection = of_classes(tmp_path, names, labels)
    for image in (7770, 7771, 7772, 5000, 5001, 30):
        mistake(selection, "group", image, 999)
    mistake(selection, "batch", 30, 998)
    began = time.process_time()
    figure = classes.differences(selection)
    runs = selection.answers
    confused = classes.confusion_difference(runs["group"], runs["batch"], names)
    table = classes.table(selection)
    assert figure
    for part in (figure, confused):
        save(part, tmp_path / "figure.png")
    assert time.process_time() - began < 2
    assert [(row[0], *row[2:]) for row in table.rows[:2]] == [
        ("class 777", "100.0", "70.0"),
        ("class 500", "100.0", "80.0"),
    ]
    assert len(table.rows) == READABLE == len(figure.axes[0].get_xticklabels())
    assert "Of 1,000 classes the 20 that change most." in table.caption
    ticks = [label.get_text() for label in confused.axes[0].get_yticklabels()]
    assert ticks == [f"class {true} → class {other}" for true, other in ((777, 999), (500, 999), (3, 998), (3, 999))]
    widths = [bar.get_width() for bar in confused.axes[0].patches]  # pyright: ignore[reportAttributeAccessIssue]
    assert widths == [3, 2, -1, 1]


def test_one_variant_of_many_classes_shows_the_least_accurate(tmp_path: Path) -> None:
    names = tuple(f"class {number}" for number in range(30))
    selection = of_classes(tmp_path, names, np.repeat(np.arange(30), 10), ("batch",))
    mistake(selection, "batch", 75, 0)
    table = classes.table(selection)
    assert table.rows[0] == ("class 7", "10", "90.0")
    assert "Of 30 classes the 20 with the lowest accuracy." in table.caption


def test_classes_of_too_few_images_are_shown_in_their_order(tmp_path: Path) -> None:
    """None has ten images, so none is said to change most."""
    names = tuple(f"class {number}" for number in range(30))
    table = classes.table(of_classes(tmp_path, names, np.repeat(np.arange(30), 9)))
    assert [row[0] for row in table.rows] == list(names[:20])
    assert "Of 30 classes the first 20." in table.caption
