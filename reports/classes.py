"""Results by class: number of test images, accuracy, and the classes that change most.

For a class with fewer than LEAST test images only their number is shown: one image would be 10 points or more.
"""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.artifacts.figures import READABLE, bars, largest, new, plain
from reports.answers import Answers
from reports.document import Table
from reports.select import Selection

LEAST = 10
UNEVEN = 1.5
"""A report mentions the largest class if it exceeds its equal share by more than this factor."""
MAJORITY = 0.6
"""A report also mentions the largest class above this share, which matters if there are two classes."""


def support(selection: Selection) -> NDArray[np.int64]:
    """Number of test images of each class, shape (classes,)."""
    first = selection.records[0]
    return np.bincount(first.labels, minlength=len(first.started.data.classes))


def majority(selection: Selection) -> str:
    """A sentence with the accuracy of always predicting the largest class; "" if classes are about equally large."""
    images, classes = support(selection), selection.records[0].started.data.classes
    share = float(images.max() / images.sum())
    if share <= min(UNEVEN / len(classes), MAJORITY):
        return ""
    largest_class = classes[int(images.argmax())]
    return (
        f"The test set is uneven: {share:.0%} of its images are of class {largest_class}. "
        f"A network that always answers {largest_class} would have {100 * share:.2f}% test accuracy."
    )


def accuracies(selection: Selection) -> dict[str, NDArray[np.float64]]:
    """Variant → accuracy within each class in percent, averaged over runs; nan for classes with too few images."""
    few = support(selection) < LEAST
    made = {}
    for variant, found in selection.answers.items():
        mean = 100 * np.mean(found.class_accuracy, axis=0)
        made[variant] = np.where(few, np.nan, mean)
    return made


def chosen(selection: Selection) -> NDArray[np.int64]:
    """The classes to show: all, or at most READABLE of those with enough images.

    If there are too many, those that a variant changes most are shown; for a single variant, those with the lowest
    accuracy.
    """
    found, base = accuracies(selection), selection.baseline
    changed = [np.abs(values - found[base]) for name, values in found.items() if name != base]
    changes = np.array(changed or [100 - found[base]])
    known = np.flatnonzero(~np.isnan(changes).any(axis=0))
    if changes.shape[1] <= READABLE:
        return np.arange(changes.shape[1]) if len(known) else known
    return known[np.argsort(-changes[:, known].max(axis=0), kind="stable")][:READABLE]


def table(selection: Selection) -> Table:
    """The number of test images and each variant's accuracy, by class."""
    found, images, classes = accuracies(selection), support(selection), selection.records[0].started.data.classes
    shown = chosen(selection)
    rows = [
        (
            classes[at],
            f"{images[at]:,}",
            *(None if np.isnan(values[at]) else f"{values[at]:.1f}" for values in found.values()),
        )
        for at in (shown if len(shown) else range(min(READABLE, len(classes))))
    ]
    caption = "Accuracy in each class, percent, the mean over a variant's runs."
    if len(classes) > READABLE:
        which = _which(selection, len(rows)) if len(shown) else f"the first {len(rows)}"
        caption += f" Of {len(classes):,} classes {which}."
    if (few := int((images < LEAST).sum())) > 0:
        caption += f" Of {few:,} {'class' if few == 1 else 'classes'} with fewer than {LEAST} test images no accuracy "
        caption += "is shown: so few images tell nothing."
    return Table(("class", "test images", *(f"{variant} %" for variant in found)), rows, caption)


def _which(selection: Selection, shown: int) -> str:
    return f"the {shown} that change most" if len(selection.variants) > 1 else f"the {shown} with the lowest accuracy"


def differences(selection: Selection) -> Figure | None:
    """Heat map of each variant's accuracy by class minus the baseline's, in points; None if no class has enough
    images."""
    shown, found, images = chosen(selection), accuracies(selection), support(selection)
    if not len(shown):
        return None
    classes = selection.records[0].started.data.classes
    others = [variant for variant in found if variant != selection.baseline]
    rows = np.round([found[variant][shown] - found[selection.baseline][shown] for variant in others], 1) + 0.0
    names = [f"{plain(classes[at])} (n = {images[at]:,})" for at in shown]
    below = 0.08 * max(len(name) for name in names)  # inches taken by the rotated names
    figure = new(max(6.0, 0.75 * len(names)), 1.2 + 0.5 * len(others) + below)
    _heatmap(figure, rows, names, [plain(v) for v in others], ".1f")
    return figure


def confusion_difference(runs: Answers, baseline: Answers, classes: Sequence[str]) -> Figure:
    """Difference of two confusion matrices in images per run: variant minus baseline.

    With more than READABLE classes, a bar chart of the confusions that change most.
    """
    ours, theirs = (side.confusion / len(side.correct) for side in (runs, baseline))
    cells, names = np.asarray(ours - theirs), [plain(name) for name in classes]
    if len(classes) > READABLE:
        np.fill_diagonal(cells, 0)
        most = [cell for cell in largest(cells) if cells[cell]]
        figure = bars([f"{names[true]} → {names[other]}" for true, other in most], [cells[cell] for cell in most])
        figure.axes[0].set(xlabel="images per run, true → predicted")
        return figure
    side = max(4.5, 0.55 * len(classes))
    figure = new(side + 1.2, side)
    _heatmap(figure, np.round(cells) + 0.0, names, names, ".0f")  # + 0.0 turns -0 into 0
    figure.axes[0].set(xlabel="predicted", ylabel="true")
    return figure


def _heatmap(figure: Figure, table: NDArray[np.floating], x: list[str], y: list[str], fmt: str) -> None:
    axes = figure.subplots()
    limit = max(float(np.nanmax(np.abs(table), initial=0)), 1e-9)  # nan for a class without test images
    sns.heatmap(
        table,
        ax=axes,
        cmap="vlag",
        vmin=-limit,
        vmax=limit,
        annot=True,
        fmt=fmt,
        xticklabels=x,
        yticklabels=y,
        annot_kws={"size": 8},
    )
