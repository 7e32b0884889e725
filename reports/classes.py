"""Results class by class: how many test images each class has, what accuracies they give, and which change most.

A class of fewer than LEAST test images shows its count and nothing else: one image would be 10 points or more.
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
"""How many times its equal share the largest class may have before a report says so."""
MAJORITY = 0.6
"""The most that it may have in any case: of two classes three quarters would otherwise go unsaid."""


def support(selection: Selection) -> NDArray[np.int64]:
    """Test images of each class, (classes,)."""
    first = selection.records[0]
    return np.bincount(first.labels, minlength=len(first.started.data.classes))


def majority(selection: Selection) -> str:
    """What the largest class alone would score, as a sentence; "" where classes are about even."""
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
    """Variant → accuracy in each class, percent, the mean over its runs; nan for a class of too few images."""
    few = support(selection) < LEAST
    made = {}
    for variant, found in selection.answers.items():
        mean = 100 * np.mean(found.class_accuracy, axis=0)
        made[variant] = np.where(few, np.nan, mean)
    return made


def chosen(selection: Selection) -> NDArray[np.int64]:
    """The classes that are shown: all, or of many READABLE that have enough images; none if no class has.

    Of many those that any variant changes most come first; of a single variant those of the lowest accuracy.
    """
    found, base = accuracies(selection), selection.baseline
    changed = [np.abs(values - found[base]) for name, values in found.items() if name != base]
    changes = np.array(changed or [100 - found[base]])
    known = np.flatnonzero(~np.isnan(changes).any(axis=0))
    if changes.shape[1] <= READABLE:
        return np.arange(changes.shape[1]) if len(known) else known
    return known[np.argsort(-changes[:, known].max(axis=0), kind="stable")][:READABLE]


def table(selection: Selection) -> Table:
    """Test images and each variant's accuracy, class by class."""
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
    """Per-class accuracy minus the baseline's, in points, over n test images; None if no class has enough images."""
    shown, found, images = chosen(selection), accuracies(selection), support(selection)
    if not len(shown):
        return None
    classes = selection.records[0].started.data.classes
    others = [variant for variant in found if variant != selection.baseline]
    rows = np.round([found[variant][shown] - found[selection.baseline][shown] for variant in others], 1) + 0.0
    names = [f"{plain(classes[at])} (n = {images[at]:,})" for at in shown]
    below = 0.08 * max(len(name) for name in names)  # inches that the names take, written upwards
    figure = new(max(6.0, 0.75 * len(names)), 1.2 + 0.5 * len(others) + below)
    _heatmap(figure, rows, names, [plain(v) for v in others], ".1f")
    return figure


def confusion_difference(runs: Answers, baseline: Answers, classes: Sequence[str]) -> Figure:
    """How many more images a run puts in each cell of the confusion matrix than one of the baseline.

    Of many classes only the READABLE confusions that change most, as bars.
    """
    ours, theirs = (side.confusion / len(side.correct) for side in (runs, baseline))
    cells, names = np.asarray(ours - theirs), [plain(name) for name in classes]
    if len(classes) > READABLE:
        np.fill_diagonal(cells, 0)
        most = [cell for cell in largest(cells) if cells[cell]]
        figure = bars([f"{names[true]} → {names[other]}" for true, other in most], [cells[cell] for cell in most])
        figure.axes[0].set(xlabel="images a run, true → predicted")
        return figure
    side = max(4.5, 0.55 * len(classes))
    figure = new(side + 1.2, side)
    _heatmap(figure, np.round(cells) + 0.0, names, names, ".0f")  # + 0.0: no "-0" where nothing changes
    figure.axes[0].set(xlabel="predicted", ylabel="true")
    return figure


def _heatmap(figure: Figure, table: NDArray[np.floating], x: list[str], y: list[str], fmt: str) -> None:
    axes = figure.subplots()
    limit = max(float(np.nanmax(np.abs(table), initial=0)), 1e-9)  # a class may have no test image
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
