"""Figures of training curves, learning rates and calibration, over all seeds of each variant."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from harness.artifacts.figures import new, plain
from harness.evidence.metrics import VALIDATION
from harness.records.events import EpochDone
from reports.answers import Answers
from reports.select import Selection

PALETTE = "colorblind"
PANEL = (4.0, 3.5)
"""Size in inches of a figure that is shown beside others."""


def colours(variants: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """A colour per variant, the same in every figure."""
    return dict(zip(variants, sns.color_palette(PALETTE, len(variants)), strict=True))


def dashes(lines: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """A line style per line: solid, but dashed for a line that coincides with an earlier one, which stays visible."""
    alike: dict[bytes, list[str]] = {}
    for name, values in lines.items():
        alike.setdefault(np.round(values, 6).tobytes(), []).append(name)
    shares = {name: nth / len(names) for names in alike.values() for nth, name in enumerate(names)}
    return {name: (0, (12 * (1 - share), 12 * share)) if share else "-" for name, share in shares.items()}


def curves(selection: Selection) -> list[Figure]:
    """Test accuracy (or validation accuracy if it is the primary metric), test loss and training loss by epoch.

    Lines are means over seeds, bands span the minimum and maximum.
    """
    of_held_out = selection.design.primary_metric == VALIDATION
    drawn: list[tuple[str, Callable[[EpochDone], float]]] = [
        ("validation accuracy (%)", lambda done: 100 * (done.validation or done.test).accuracy)
        if of_held_out
        else ("test accuracy (%)", lambda done: 100 * done.test.accuracy),
        ("test loss", lambda done: done.test.loss),
        ("training loss", lambda done: done.train.loss),
    ]
    return [_curve(selection, label, value) for label, value in drawn]


def _curve(selection: Selection, label: str, value: Callable[[EpochDone], float]) -> Figure:
    figure = new(*PANEL)
    axes = figure.subplots()
    values = {v: np.array([[value(d) for d in r.epochs] for r in runs]) for v, runs in selection.variants.items()}
    style = dashes({variant: runs.mean(0) for variant, runs in values.items()})
    for variant, colour in colours(list(values)).items():
        runs, epochs = values[variant], np.arange(1, values[variant].shape[1] + 1)
        axes.plot(epochs, runs.mean(0), color=colour, linestyle=style[variant], label=plain(variant))
        axes.fill_between(epochs, runs.min(0), runs.max(0), color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend()
    return figure


def learning_rates(selection: Selection) -> Figure:
    """The training loss by epoch and the learning rate of every step, for the first seed of each variant."""
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
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    upper.legend()
    return figure


def lr_finder(selection: Selection) -> Figure:
    """Every run's LR range test: smoothed loss over the learning rate, with a dot at the suggested rate."""
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


def calibration(answers: Mapping[str, Answers]) -> Figure:
    """Reliability diagram: accuracy against confidence in 15 bins, with each variant's runs pooled."""
    figure = new(5, 4.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--")
    for variant, colour in colours(list(answers)).items():
        bins = answers[variant].curve
        used = bins.count > 0
        axes.plot(bins.confidence[used], bins.accuracy[used], marker="o", color=colour, label=plain(variant))
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return figure
