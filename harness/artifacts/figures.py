"""The figures of one run. Each function returns a matplotlib figure; nothing here touches pyplot's global state."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from harness.records.events import EpochDone, LRFound

COLUMNS = 8
MOST_CLASSES = 40
"""Of more classes the matrix and the bars would be neither readable nor quick to draw (70 s each for 1,000)."""
MOST_PAIRS = 20
LONGEST = 30
"""Characters of a name in a figure."""


def new(width: float = 6.4, height: float = 4.0) -> Figure:
    """An empty figure, sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG at 100 dots an inch, the same bytes for the same figure. What the font lacks is drawn as a box."""
    with _boxes_allowed():
        figure.savefig(path, dpi=100, metadata={"Software": None})


@contextmanager
def _boxes_allowed() -> Iterator[None]:
    """Without matplotlib's warning, one a character, that the font lacks it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield


def curves(epochs: Sequence[EpochDone]) -> Figure:
    """Loss and accuracy per epoch, training and test (and validation, if held out)."""
    figure = new(9, 3.6)
    left, right = figure.subplots(1, 2)
    x = [done.epoch for done in epochs]
    for split in ("train", "validation", "test"):
        scores = [getattr(done, split) for done in epochs]
        if None not in scores:
            left.plot(x, [s.loss for s in scores], marker=".", label=split)
            right.plot(x, [100 * s.accuracy for s in scores], marker=".", label=split)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylabel="accuracy (%)")
    left.legend()
    return figure


def learning_rate(epochs: Sequence[EpochDone]) -> Figure:
    """The learning rate of every optimiser step."""
    figure = new()
    axes = figure.subplots()
    axes.plot([lr for done in epochs for lr in done.lrs])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="step", ylabel="learning rate")
    return figure


def lr_finder(found: LRFound) -> Figure:
    """The range test's smoothed loss over the learning rate, and the suggestion."""
    figure = new()
    axes = figure.subplots()
    axes.plot(found.lrs, found.losses)
    axes.axvline(found.suggestion, linestyle="--", color="tab:red", label=f"suggestion {found.suggestion:.2e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
    axes.legend()
    return figure


def confusion_matrix(labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: tuple[str, ...]) -> Figure:
    """Rows are true classes, columns predicted ones; counts. Of more than 40 classes: the most confused pairs alone."""
    if len(classes) > MOST_CLASSES:
        return _most_confused(labels, predicted, classes)
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (labels, predicted), 1)
    side = max(4.5, 0.5 * len(classes))
    figure = new(side + 1, side)
    names = [plain(name) for name in classes]
    with _boxes_allowed():  # seaborn draws once to see whether names overlap
        sns.heatmap(
            counts,
            ax=figure.subplots(),
            annot=len(classes) <= 20,
            fmt="d",
            cmap="Blues",
            cbar=False,
            xticklabels=names,
            yticklabels=names,
            annot_kws={"size": 8},
        )
    figure.axes[0].set(xlabel="predicted", ylabel="true")
    return figure


def _most_confused(labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: tuple[str, ...]) -> Figure:
    """One bar for each pair of a true class and another that was predicted, with the most test images."""
    wrong = labels != predicted
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]]), axis=1, return_counts=True)
    worst = np.argsort(-counts, kind="stable")[:MOST_PAIRS]
    names = [f"{plain(classes[true])} → {plain(classes[other])}" for true, other in pairs[:, worst].T]
    title = (
        f"The {len(names)} most confused pairs of {len(classes):,} classes" if names else "No test image is confused"
    )
    return _bars(names, counts[worst], f"{title}\n(true → predicted)", xlabel="test images")


def per_class_accuracy(labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: tuple[str, ...]) -> Figure:
    """One bar a class, in percent; of more than 40 classes, the worst 40."""
    total = np.bincount(labels, minlength=len(classes))
    right = np.bincount(labels[labels == predicted], minlength=len(classes))
    accuracy = 100 * right / np.where(total, total, np.nan)  # a class without test images has no bar
    shown, title = np.arange(len(classes)), ""
    if len(classes) > MOST_CLASSES:
        shown = np.argsort(accuracy, kind="stable")[: min(MOST_CLASSES, np.count_nonzero(total))]  # NaN comes last
        title = f"The {len(shown)} worst of {len(classes):,} classes"
    figure = _bars([plain(classes[label]) for label in shown], accuracy[shown], title, xlabel="test accuracy (%)")
    figure.axes[0].set_xlim(0, 100)
    return figure


def _bars(names: Sequence[str], values: NDArray[np.number], title: str, xlabel: str) -> Figure:
    """Horizontal bars from top to bottom; names need not differ."""
    figure = new(6.4, max(3.0, 0.25 * len(names) + 0.3 * bool(title)))
    axes = figure.subplots()
    axes.barh(range(len(names)), values)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel=xlabel, title=title)
    return figure


def misclassified(wrong: pd.DataFrame, images: NDArray[np.float32]) -> Figure:
    """The most confident mistakes: true class, predicted class, confidence; images (N, H, W, C), 0..1."""
    titles = [
        f"{true}\n→ {predicted} {confidence:.0%}"
        for true, predicted, confidence in zip(wrong["true"], wrong["predicted"], wrong["confidence"], strict=True)
    ]
    return grid(images, titles, "Test images the model gets wrong, surest first")


def grid(images: NDArray[np.float32], titles: Sequence[str], title: str) -> Figure:
    """Images (N, H, W, C), 0..1, in rows of eight, each under its title."""
    rows = max(1, -(-len(images) // COLUMNS))
    head = 0.13 * max((name.count("\n") + 1 for name in titles), default=1) + 0.08  # of an image's height
    longest = max((len(line) for name in map(plain, titles) for line in name.split("\n")), default=1)
    size = 6.5 * min(1, 19 / max(longest, 1))  # points: what fits above an image
    width, height = 1.15 * COLUMNS, 1.1 * rows * (1 + head) + 0.4
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.suptitle(title if len(images) else f"{title}: none", fontsize=10, y=1 - 0.1 / height, va="top")
    axes = figure.add_axes((0.01, 0.0, 0.98, 1 - 0.4 / height))  # one for all: an axes an image takes ten times as long
    for position, (image, name) in enumerate(zip(images, titles, strict=True)):
        x, y = 1.06 * (position % COLUMNS), (1 + head) * (position // COLUMNS) + head
        grey = image.shape[-1] == 1
        axes.imshow(image.squeeze(), extent=(x, x + 1, y + 1, y), cmap="gray" if grey else None, vmin=0, vmax=1)
        axes.text(x + 0.5, y - 0.03, plain(name), fontsize=size, ha="center", va="bottom")
    axes.set(xlim=(0, 1.06 * COLUMNS), ylim=((1 + head) * rows, 0))
    axes.set_axis_off()
    return figure


def plain(text: str) -> str:
    """Text that matplotlib shows as it is, cut where it would leave no room: a dollar sign would begin a formula."""
    return "\n".join(shortened(line, LONGEST) for line in text.split("\n")).replace("$", r"\$")


def shortened(text: str, longest: int) -> str:
    """The text, with an ellipsis for its end where it has more characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
