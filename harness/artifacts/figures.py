"""The figures of one run. Each function returns a matplotlib figure; pyplot's global state is not used."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from harness.artifacts.predictions import confusion
from harness.artifacts.predictions import per_class_accuracy as class_accuracy
from harness.records.events import EpochDone, LRFound

COLUMNS = 8
LONGEST = 30
"""Maximum number of characters of a name in a figure."""
READABLE = 20
"""Up to this many classes a figure shows all of them; with more, only the most extreme ones."""


def new(width: float = 6.4, height: float = 4.0) -> Figure:
    """An empty figure; width and height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path, also: str = "", small: bool = False) -> None:
    """Write a PNG at 100 dots per inch; equal figures give equal bytes. Characters missing in the font become boxes.

    Args:
        also: "pdf" or "svg" to write the figure in that format too.
        small: reduce the PNG to a palette of 256 colours, which takes a third of the space.
    """
    with _boxes_allowed():
        figure.savefig(path, dpi=100, metadata={"Software": None})
        if small:
            reduce_colours(path)
        if also:
            undated = {"CreationDate": None} if also == "pdf" else {"Date": None}
            with rc_context({"svg.hashsalt": "harness"}):  # otherwise ids in the file are random
                figure.savefig(path.with_suffix(f".{also}"), metadata=undated)


def reduce_colours(path: Path) -> None:
    """Reduce a picture to a palette of 256 colours."""
    with Image.open(path) as image:
        reduced = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


@contextmanager
def _boxes_allowed() -> Iterator[None]:
    """Context that suppresses matplotlib's warnings about characters missing in the font."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield


def curves(epochs: Sequence[EpochDone]) -> Figure:
    """Loss and accuracy per epoch on training, test and, if there are any, validation images."""
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
    """The smoothed loss of an LR range test over the learning rate, with the suggested rate."""
    figure = new()
    axes = figure.subplots()
    axes.plot(found.lrs, found.losses)
    axes.axvline(found.suggestion, linestyle="--", color="tab:red", label=f"suggestion {found.suggestion:.2e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
    axes.legend()
    return figure


def confusion_matrix(labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: tuple[str, ...]) -> Figure:
    """Confusion matrix: rows are true classes, columns predicted ones, values are numbers of images.

    With more than READABLE classes, a bar chart of the pairs that are confused most often.

    Args:
        labels, predicted: class indices, shape (images,).
    """
    counts, names = confusion(labels, predicted, len(classes)), [plain(name) for name in classes]
    if len(classes) > READABLE:
        wrong = counts - np.diag(np.diag(counts))
        worst = [cell for cell in largest(wrong) if wrong[cell]]
        figure = bars([f"{names[true]} → {names[other]}" for true, other in worst], [wrong[cell] for cell in worst])
        said = f"the {len(worst)} pairs of {len(classes):,} classes confused most (true → predicted)"
        figure.axes[0].set(xlabel="test images", title=said)
        return figure
    side = max(4.5, 0.5 * len(classes))
    figure = new(side + 1, side)
    with _boxes_allowed():  # seaborn draws once to check whether names overlap
        sns.heatmap(
            counts,
            ax=figure.subplots(),
            annot=True,
            fmt="d",
            cmap="Blues",
            cbar=False,
            xticklabels=names,
            yticklabels=names,
            annot_kws={"size": 8},
        )
    figure.axes[0].set(xlabel="predicted", ylabel="true")
    return figure


def per_class_accuracy(labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: tuple[str, ...]) -> Figure:
    """A bar per class with its accuracy in percent and its number of test images.

    With more than READABLE classes, only those with the lowest accuracy.

    Args:
        labels, predicted: class indices, shape (images,).
    """
    counts = confusion(labels, predicted, len(classes))
    accuracy, images = 100 * class_accuracy(counts), counts.sum(axis=1)  # nan for a class without test images
    shown, title = np.arange(len(classes)), ""
    if len(classes) > READABLE:
        shown = np.argsort(accuracy, kind="stable")[:READABLE]
        title = f"the {READABLE} of {len(classes):,} classes with the lowest accuracy"
    figure = bars([f"{plain(classes[at])} (n = {images[at]:,})" for at in shown], accuracy[shown])
    figure.axes[0].set(xlabel="test accuracy (%), of n test images", xlim=(0, 100), title=title)
    return figure


def largest(table: NDArray[np.number]) -> list[tuple[int, int]]:
    """The READABLE cells (row, column) with the largest absolute values, the largest first."""
    order = np.argsort(-np.abs(table), axis=None, kind="stable")[:READABLE]
    return [(int(at) // table.shape[1], int(at) % table.shape[1]) for at in order]


def bars(names: Sequence[str], values: Sequence[float] | NDArray[np.number]) -> Figure:
    """Horizontal bars, the first one at the top."""
    figure = new(7.4, max(3.0, 0.25 * len(names)))
    axes = figure.subplots()
    axes.barh(np.arange(len(names)), values)
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    return figure


def misclassified(wrong: pd.DataFrame, images: NDArray[np.float32]) -> Figure:
    """The most confident misclassifications with true class, predicted class and confidence.

    Args:
        wrong: a table as `predictions.misclassified` returns it.
        images: the images of its rows, shape (N, H, W, C), values 0..1.
    """
    titles = [
        f"{true}\n→ {predicted} {confidence:.0%}"
        for true, predicted, confidence in zip(wrong["true"], wrong["predicted"], wrong["confidence"], strict=True)
    ]
    return grid(images, titles, "Test images the model gets wrong, most confident first")


def grid(images: NDArray[np.float32], titles: Sequence[str], title: str, columns: int = COLUMNS) -> Figure:
    """A grid of images with `columns` per row, each below its title.

    Args:
        images: shape (N, H, W, C), values 0..1.
    """
    rows = max(1, -(-len(images) // columns))
    head = 0.13 * max((name.count("\n") + 1 for name in titles), default=1) + 0.08  # as a share of an image's height
    longest = max((len(line) for name in map(plain, titles) for line in name.split("\n")), default=1)
    size = 6.5 * min(1, 19 / max(longest, 1))  # font size in points that fits above an image
    width, height = 1.15 * columns, 1.1 * rows * (1 + head) + 0.4
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.suptitle(title if len(images) else f"{title}: none", fontsize=10, y=1 - 0.1 / height, va="top")
    axes = figure.add_axes((0.01, 0.0, 0.98, 1 - 0.4 / height))  # one axes for all: one per image is ten times slower
    for position, (image, name) in enumerate(zip(images, titles, strict=True)):
        x, y = 1.06 * (position % columns), (1 + head) * (position // columns) + head
        grey = image.shape[-1] == 1
        axes.imshow(image.squeeze(), extent=(x, x + 1, y + 1, y), cmap="gray" if grey else None, vmin=0, vmax=1)
        axes.text(x + 0.5, y - 0.03, plain(name), fontsize=size, ha="center", va="bottom")
    axes.set(xlim=(0, 1.06 * columns), ylim=((1 + head) * rows, 0))
    axes.set_axis_off()
    return figure


def plain(text: str) -> str:
    """Escape dollar signs, which matplotlib would take for formulas, and shorten long text."""
    return "\n".join(shortened(line, LONGEST) for line in text.split("\n")).replace("$", r"\$")


def shortened(text: str, longest: int) -> str:
    """The text, cut to `longest` characters with an ellipsis if it is longer."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
