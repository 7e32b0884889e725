"""The figures of a report: variants over all their seeds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.artifacts.figures import new, plain
from harness.artifacts.predictions import confusion, per_class_accuracy
from harness.records.events import EpochDone
from harness.records.record import Record
from reports.checkpoints import reliability
from reports.frames import value_of
from reports.select import Selection

PALETTE = "colorblind"


def colours(variants: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """One colour a variant, the same in every figure."""
    return dict(zip(variants, sns.color_palette(PALETTE, len(variants)), strict=True))


def dashes(lines: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """A line style for each: solid, but of lines that coincide the later have gaps, through which the earlier show."""
    alike: dict[bytes, list[str]] = {}
    for name, values in lines.items():
        alike.setdefault(np.round(values, 6).tobytes(), []).append(name)
    shares = {name: nth / len(names) for names in alike.values() for nth, name in enumerate(names)}
    return {name: (0, (12 * (1 - share), 12 * share)) if share else "-" for name, share in shares.items()}


def curves(selection: Selection) -> Figure:
    """The primary metric, test and training loss, per epoch: the mean over seeds in a band from least to greatest."""
    metric = selection.design.primary_metric
    drawn: list[tuple[str, Callable[[EpochDone], float]]] = [
        (f"{metric.replace('_', ' ')} (%)", lambda done: 100 * value_of(done, metric)),
        ("test loss", lambda done: done.test.loss),
        ("training loss", lambda done: done.train.loss),
    ]
    figure = new(12, 3.8)
    for axes, (label, value) in zip(figure.subplots(1, 3), drawn, strict=True):
        values = {v: np.array([[value(d) for d in r.epochs] for r in runs]) for v, runs in selection.variants.items()}
        style = dashes({variant: runs.mean(0) for variant, runs in values.items()})
        for variant, colour in colours(list(values)).items():
            runs, epochs = values[variant], np.arange(1, values[variant].shape[1] + 1)
            axes.plot(epochs, runs.mean(0), color=colour, linestyle=style[variant], label=plain(variant))
            axes.fill_between(epochs, runs.min(0), runs.max(0), color=colour, alpha=0.2, linewidth=0)
        axes.set(xlabel="epoch", ylabel=label)
    figure.axes[0].legend()
    return figure


def learning_rates(selection: Selection) -> Figure:
    """The learning rate of every step, above it the training loss by epoch, of each variant's first seed."""
    figure = new(9, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    first = {variant: runs[0].epochs for variant, runs in selection.variants.items()}
    losses = {variant: np.array([done.train.loss for done in epochs]) for variant, epochs in first.items()}
    rates = {variant: np.array([lr for done in epochs for lr in done.lrs]) for variant, epochs in first.items()}
    loss_style, rate_style = dashes(losses), dashes(rates)
    for variant, colour in colours(list(first)).items():
        steps = [done.step for done in first[variant]]
        label = plain(variant)
        upper.plot(steps, losses[variant], color=colour, linestyle=loss_style[variant], label=label)
        lower.plot(np.arange(1, steps[-1] + 1), rates[variant], color=colour, linestyle=rate_style[variant])
    upper.set(ylabel="training loss")
    lower.set(xlabel="step", ylabel="learning rate")
    upper.legend()
    return figure


def lr_finder(selection: Selection) -> Figure:
    """Every run's range test: smoothed loss over the rate, a dot at its suggestion."""
    figure = new(7, 4)
    axes = figure.subplots()
    for variant, colour in colours(list(selection.variants)).items():
        label: str | None = plain(variant)
        for record in selection.variants[variant]:
            if record.lr_found:
                found = record.lr_found
                axes.plot(found.lrs, found.losses, color=colour, alpha=0.6, label=label)
                at = int(np.abs(np.array(found.lrs) - found.suggestion).argmin())
                axes.plot(found.suggestion, found.losses[at], "o", color=colour)
                label = None
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
    axes.legend()
    return figure


def seeds(results: Mapping[str, Mapping[int, float]], baseline: str, metric: str) -> Figure:
    """Every run as a dot, runs of one seed joined: what pairing by seed compares. `metric` names what is measured."""
    variants = list(results)
    figure = new(max(7.0, 1.2 * len(variants)), 4)
    axes = figure.subplots()
    shown = [plain(variant) for variant in variants]
    for seed in sorted({seed for runs in results.values() for seed in runs}):
        axes.plot(shown, [results[v].get(seed, np.nan) for v in variants], color="0.8", zorder=1, linewidth=1)
    for position, (variant, colour) in enumerate(colours(variants).items()):
        values = list(results[variant].values())
        axes.scatter([position] * len(values), values, color=colour, zorder=2)
        axes.hlines(np.mean(values), position - 0.2, position + 0.2, color=colour, zorder=3)
    axes.axhline(float(np.mean(list(results[baseline].values()))), color="0.5", linestyle=":", zorder=0)
    axes.set(ylabel=f"{metric} (%)", xlim=(-0.5, len(variants) - 0.5))
    return figure


_MANY = 40
"""Classes above which their cells shrink: matplotlib draws no picture of more than 65,536 pixels a side."""


def per_class(records: dict[str, list[Record]], baseline: str, classes: Sequence[str]) -> Figure:
    """Per-class accuracy, each variant's mean over seeds minus the baseline's, in points."""
    accuracy = {
        variant: 100 * np.mean([per_class_accuracy(c) for c in _confusions(runs, len(classes))], axis=0)
        for variant, runs in records.items()
    }
    others = [variant for variant in records if variant != baseline]
    table = np.round([accuracy[variant] - accuracy[baseline] for variant in others], 1) + 0.0
    names = [plain(name) for name in classes]
    below = 0.08 * max(len(name) for name in names)  # inches that the names take, written upwards
    figure = new(max(6.0, 0.75 * min(len(names), _MANY)), 1.2 + 0.5 * len(others) + below)
    _heatmap(figure, table, names, [plain(v) for v in others], ".1f")
    return figure


def confusion_difference(
    records: dict[str, list[Record]], variant: str, baseline: str, classes: Sequence[str]
) -> Figure:
    """How many more images a run of the variant puts in each cell of the confusion matrix than one of the baseline."""
    ours, theirs = (np.mean(_confusions(records[name], len(classes)), axis=0) for name in (variant, baseline))
    table = np.round(ours - theirs) + 0.0  # no "-0" where nothing changes
    names = [plain(name) for name in classes]
    side = max(4.5, 0.55 * min(len(classes), _MANY))
    figure = new(side + 1.2, side)
    _heatmap(figure, table, names, names, ".0f")
    figure.axes[0].set(xlabel="predicted", ylabel="true")
    return figure


def calibration(records: dict[str, list[Record]], confidence: Callable[[Record], NDArray[np.float64]]) -> Figure:
    """Reliability: accuracy against confidence in 15 bins, all of a variant's runs pooled."""
    figure = new(5, 4.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--")
    for variant, colour in colours(list(records)).items():
        pooled = np.concatenate([confidence(record) for record in records[variant]])
        right = np.concatenate([record.correct for record in records[variant]])
        bins = reliability(pooled, right)
        used = bins.count > 0
        axes.plot(bins.confidence[used], bins.accuracy[used], marker="o", color=colour, label=plain(variant))
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
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
        annot=table.shape[1] <= 20,
        fmt=fmt,
        xticklabels=x,
        yticklabels=y,
        annot_kws={"size": 8},
    )


def _confusions(runs: Sequence[Record], classes: int) -> list[NDArray[np.int64]]:
    return [confusion(run.labels, run.logits.argmax(1), classes) for run in runs]
