"""What a notebook asks for: results as a data frame, a report as a page. Imported when it is called, see `reports`."""

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
    """A report that was written: shown as its page by a notebook, by its place elsewhere."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __repr__(self) -> str:
        return str(self.folder / "report.html")

    def _repr_html_(self) -> str:
        page = (self.folder / "report.html").read_text(encoding="utf-8")
        return f'<iframe srcdoc="{html.escape(page)}" width="100%" height="700"></iframe>'  # with a style of its own


def results(experiment: str, root: Path | None = None) -> pd.DataFrame:
    """One row a run of what was last asked of an experiment: the columns of `runs.csv` (accuracies as fractions), and
    for every field of the recipe in which variants differ one more, by its dotted name.

    Raises:
        TrackingError: nothing is recorded under that name.
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
    """Write an experiment's report into `reports/out/`, without pictures of test images and without MLflow's copy.

    Raises:
        TrackingError: nothing is recorded under that name.
        NotComparable: runs differ in more than the factor, and `allow` does not name it.
    """
    place = root or project()
    folder = place / "reports" / "out" / f"{experiment}-notebook"
    build([looked(select(Tracker(place), experiment), place)], folder, allow, [None])
    return Page(folder)
