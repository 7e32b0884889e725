"""Tables on training: when levels of accuracy were reached, how smoothly, and the rates suggested by LR range tests."""

import itertools
from collections.abc import Sequence

import pandas as pd

from harness.records.record import Record
from reports.document import Table
from reports.select import Selection
from reports.statistics import summarize
from reports.tables import rounded

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Levels of test accuracy that get a column if some variant reaches them."""


def speed_table(selection: Selection) -> Table:
    """The first epoch and the training time at which runs reach levels of test accuracy, averaged over runs."""
    reached: dict[str, list[str | None]] = {}
    best = max(max(done.test.accuracy for done in record.epochs) for record in selection.records)
    levels = [level for level in LEVELS if level <= best][-4:]
    for variant, records in selection.variants.items():
        cells: list[str | None] = []
        for level in levels:
            times = [_reach(record, level) for record in records]
            known = [time for time in times if time is not None]
            if not known:
                cells.append(None)
                continue
            epochs, seconds = (summarize(values) for values in zip(*known, strict=True))
            missed = f", {len(known)} of {len(times)} runs" if len(known) < len(times) else ""
            cells.append(f"{epochs.mean:.1f} ({rounded(seconds.mean, seconds.std)} s{missed})")
        reached[variant] = cells
    smooth = {variant: _roughness(records) for variant, records in selection.variants.items()}
    rows = [(variant, *cells, f"{smooth[variant]:.2f}") for variant, cells in reached.items()]
    return Table(
        ("variant", *(f"{level:.0%}" for level in levels), "roughness"),
        rows,
        "First epoch (and seconds of training) at which test accuracy reaches the level, mean over the runs that reach "
        "it; ± is the standard deviation. Roughness: how many points test accuracy loses from one epoch to the next, "
        "the mean over all epochs (0 where it rises).",
    )


def _reach(record: Record, level: float) -> tuple[int, float] | None:
    seconds = 0.0
    for done in record.epochs:
        seconds += done.train_seconds
        if done.test.accuracy >= level:
            return done.epoch, seconds
    return None


def _roughness(records: Sequence[Record]) -> float:
    drops = []
    for record in records:
        accuracy = [100 * done.test.accuracy for done in record.epochs]
        drops += [max(0.0, before - after) for before, after in itertools.pairwise(accuracy)]
    return sum(drops) / len(drops) if drops else 0.0


def lr_finder_table(selection: Selection) -> Table:
    """The learning rates suggested by LR range tests, and their range over seeds."""
    rows = []
    for variant, records in selection.variants.items():
        found = [record.lr_found.suggestion for record in records if record.lr_found]
        if found:
            rows.append(
                (variant, len(found), f"{min(found):.2e}", f"{pd.Series(found).median():.2e}", f"{max(found):.2e}")
            )
    return Table(("variant", "range tests", "least", "median", "greatest"), rows, "Suggested peak learning rates.")
