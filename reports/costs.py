"""Costs of variants relative to the baseline: exact counts, and measured times and memory with intervals.

Measured costs are compared as the ratio of geometric means, with an interval by Welch's t on logarithms. They are not
paired by seed, because runs with the same seed need not see the same load of the machine. The intervals of all variants
have a joint coverage of 95% (Bonferroni); a cost is shown to differ if its interval excludes 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from harness.artifacts.figures import new, plain
from reports.document import Table, Text
from reports.figures import PANEL, colours
from reports.frames import runs_frame, summary_frame
from reports.inference import ratio_interval
from reports.select import Selection
from reports.statistics import Comparison
from reports.tables import rounded


@dataclass(frozen=True)
class Ratio:
    """A variant's cost divided by the baseline's; low and high are None if the spread is unknown."""

    ratio: float
    low: float | None
    high: float | None

    @property
    def shown(self) -> int:
        """1 if shown to cost more, -1 if shown to cost less, 0 if not shown to differ."""
        if self.low is None or self.high is None or self.low <= 1 <= self.high:
            return 0
        return 1 if self.low > 1 else -1


@dataclass(frozen=True)
class Cost:
    """One kind of cost: its column in `runs.csv`, its label, whether it is an exact count, whether more is better."""

    column: str
    label: str
    exact: bool = False
    more_is_better: bool = False


COSTS = (
    Cost("parameters", "parameters", exact=True),
    Cost("multiply_adds", "multiply-adds per image", exact=True),
    Cost("receptive_field", "receptive field, pixels", exact=True),
    Cost("train_seconds", "training, seconds"),
    Cost("images_per_second", "images per second", more_is_better=True),
    Cost("peak_memory_megabytes", "peak memory, MB"),
)


def ratios(selection: Selection, cost: Cost) -> dict[str, Ratio]:
    """Variant → its cost relative to the baseline's, for every variant for which it is known."""
    values = {name: group[cost.column].dropna() for name, group in runs_frame(selection).groupby("variant")}
    base = values[selection.baseline].to_numpy(dtype=float)
    others = [variant for variant in selection.variants if variant != selection.baseline and len(values[variant])]
    stacked = any(record.started.circumstances.step == "stacked" for record in selection.records)
    made = {}
    for variant in others if len(base) else []:
        ours = values[variant].to_numpy(dtype=float)
        ratio = float(ours.mean() / base.mean())
        if cost.exact:
            made[variant] = Ratio(ratio, ratio, ratio)
        else:  # stacked seeds are a single measurement
            interval = None if stacked else ratio_interval(ours, base, confidence=1 - 0.05 / len(others))
            made[variant] = _outward(*interval) if interval else Ratio(ratio, None, None)
    return made


def _outward(ratio: float, low: float, high: float) -> Ratio:
    """Round the interval outwards to the printed digits, so that the verdict agrees with the printed interval."""
    return Ratio(ratio, math.floor(100 * low) / 100, math.ceil(100 * high) / 100)


def text(selection: Selection) -> list[Text]:
    """Sentences on the training time of each variant, and whether it is shown to differ from the baseline's."""
    frame = summary_frame(selection).set_index("variant")
    times = {v: rounded(row["train_seconds_mean"], row["train_seconds_std"]) for v, row in frame.iterrows()}
    listed = ", ".join(f"{time} s ({variant})" for variant, time in times.items())
    where = "on this machine, with whatever else ran on it"
    if len({str(record.started.environment.get("processor")) for record in selection.records}) > 1:
        where = "on several kinds of machine, with whatever else ran on them"
    said = [Text(f"Training takes {listed} {where}.", selection.numbers())]
    if len(times) == 1:
        return said
    found = ratios(selection, next(cost for cost in COSTS if cost.column == "train_seconds"))
    if all(ratio.low is None for ratio in found.values()):
        return [
            *said,
            Text(
                "With one measurement per variant the spread is unknown, so no ratio is claimed.", selection.numbers()
            ),
        ]
    for variant, ratio in found.items():
        said.append(Text(_claim(variant, ratio, selection.baseline), selection.numbers(variant, selection.baseline)))
    return said


def _claim(variant: str, ratio: Ratio, baseline: str) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{variant} or {baseline} has only one measurement, so no ratio is claimed."
    verdict = {1: "shown to take longer", -1: "shown to be faster", 0: "not shown to differ"}[ratio.shown]
    interval = f"95% interval {ratio.low:.2f} to {ratio.high:.2f}"
    return f"{variant} takes {ratio.ratio:.2f} times as long as {baseline} ({interval}): {verdict}."


def table(selection: Selection) -> Table:
    """The costs of a run of each variant, and the receptive field if it is known for some variant."""
    frame = summary_frame(selection)
    unknown = bool(frame["receptive_field"].isna().all())
    measures = ("train_seconds", "evaluate_seconds", "images_per_second", "peak_memory_megabytes")
    rows = [
        (
            row["variant"],
            f"{row['parameters']:,}",
            f"{row['multiply_adds'] / 1e6:.2f}",
            *([] if unknown else [None if pd.isna(row["receptive_field"]) else int(row["receptive_field"])]),
            *(rounded(row[f"{name}_mean"], row[f"{name}_std"]) for name in measures),
        )
        for _, row in frame.iterrows()
    ]
    twice = any(record.started.spec.recipe.test_time_flip for record in selection.records)
    together = ", and their intervals hold for all variants together (Bonferroni)" * (len(frame) > 2)
    ratio = f" Ratios are of geometric means{together}." if len(frame) > 1 else ""
    return Table(
        (
            "variant",
            "parameters",
            "multiply-adds, millions",
            *([] if unknown else ["receptive field, pixels"]),
            "training, s",
            "evaluation, s",
            "images/s",
            "peak memory, MB",
        ),
        rows,
        f"Per run. Multiply-adds: of one image, forward{', once; test_time_flip evaluates it twice' if twice else ''}. "
        "Evaluation: after every epoch, all epochs together. Parameters and multiply-adds are exact; time and memory "
        f"are measured, mean ± standard deviation over runs, to the digits that the spread leaves.{ratio}",
    )


def panels(selection: Selection, comparisons: Sequence[Comparison], metric: str) -> list[Figure]:
    """The mean of the primary metric against each known cost; lines join the baseline and variants with a trade-off.

    Args:
        metric: axis label of the primary metric, with its unit.
    """
    frame = summary_frame(selection)
    made = []
    for cost in (cost for cost in COSTS if frame[_column(cost)].notna().any()):
        made.append(new(*PANEL))
        axes, points = made[-1].subplots(), frame.set_index("variant")
        _points(axes, frame, cost)
        for variant in trade_offs(comparisons, ratios(selection, cost), cost.more_is_better):
            ends = points.loc[[selection.baseline, variant]]
            axes.plot(ends[_column(cost)].astype(float), ends["mean"], color="0.6", zorder=1)
        axes.set(ylabel=metric)
        axes.legend()
    return made


def trade_offs(comparisons: Sequence[Comparison], found: dict[str, Ratio], more_is_better: bool) -> list[str]:
    """The variants shown to be both better and costlier than the baseline, or both worse and cheaper."""
    sign = {"better": 1, "worse": -1}
    costlier = {variant: -ratio.shown if more_is_better else ratio.shown for variant, ratio in found.items()}
    return [c.variant for c in comparisons if sign.get(c.verdict, 0) * costlier.get(c.variant, 0) > 0]


def _column(cost: Cost) -> str:
    return cost.column if cost.exact else f"{cost.column}_mean"


def _points(axes: Axes, frame: pd.DataFrame, cost: Cost) -> None:
    colour = colours(list(frame["variant"]))
    for _, row in frame[frame[_column(cost)].notna()].iterrows():
        accuracy = 0.0 if pd.isna(row["std"]) else row["std"]
        spread = 0.0 if cost.exact or pd.isna(row[f"{cost.column}_std"]) else row[f"{cost.column}_std"]
        at, name = float(row[_column(cost)]), row["variant"]
        axes.errorbar(at, row["mean"], yerr=accuracy, xerr=spread, fmt="o", color=colour[name], label=plain(name))
    axes.set(xlabel=cost.label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.locator_params(axis="x", nbins=5)
