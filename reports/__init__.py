"""Reports (tables, figures and text) from recorded runs. In a notebook: `from reports import report, results`.

Both functions import their dependencies when they are called.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from reports.notebook import Page


def results(experiment: str, root: Path | None = None) -> "pd.DataFrame":
    """A data frame with one row per run; see `reports.notebook.results`."""
    from reports import notebook

    return notebook.results(experiment, root)


def report(experiment: str, allow: Sequence[str] = (), root: Path | None = None) -> "Page":
    """Write a report and return it as a page; see `reports.notebook.report`."""
    from reports import notebook

    return notebook.report(experiment, allow, root)
