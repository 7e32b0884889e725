"""Functions for notebooks: results as a data frame, a report as a page. Imported on first use, see `reports`."""

import html
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.environment import project
from harness.tracking.tracker import Tracker
from reports import frames, guard
from reports.build import build
from reports.looks_said import looked
from reports.select import select


class Page:
    """A written report: notebooks show its HTML page, other programs its path."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __repr__(self) -> str:
        return str(self.folder / "report.html")

    def _repr_html_(self) -> str:
        page = (self.folder / "report.html").read_text(encoding="utf-8")
        return f'<iframe srcdoc="{html.escape(page)}" width="100%" height="700"></iframe>'  # it has its own style


def results(experiment: str, root: Path | None = None) -> pd.DataFrame:
    """A data frame with one row per run of an experiment's latest plan.

    It has the columns of `runs.csv` (accuracies as fractions), and one more for every recipe field in which variants
    differ, named by its dotted name.

    Raises:
        TrackingError: no runs of this experiment are recorded.
    """
    place = root or project()
    selection = looked(select(Tracker(place), experiment), place)
    frame = frames.runs_frame(selection)
    if not selection.records:
        return frame
    factors = guard.factor_values(selection.records)
    for at, (field, values) in enumerate(factors.items(), 2):
        frame.insert(at, field, [values[variant] for variant in frame["variant"]])
    return frame


def report(experiment: str, allow: Sequence[str] = (), root: Path | None = None) -> Page:
    """Write an experiment's report to `reports/out/`, without test images and without uploading it to MLflow.

    Raises:
        TrackingError: no runs of this experiment are recorded.
        NotComparable: runs differ in a field that is neither the factor nor in `allow`.
    """
    place = root or project()
    folder = place / "reports" / "out" / f"{experiment}-notebook"
    build([looked(select(Tracker(place), experiment), place)], folder, allow, [None])
    return Page(folder)
