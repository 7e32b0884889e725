"""Tables, figures and text from recorded runs. In a notebook: `from reports import report, results`.

Both import what they need when they are called.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from reports.notebook import Page


def results(experiment: str, root: Path | None = None) -> "pd.DataFrame":
    """One row a run; see `reports.notebook.results`."""
    from reports import notebook

    return notebook.results(experiment, root)


def report(experiment: str, allow: Sequence[str] = (), root: Path | None = None) -> "Page":
    """Write a report and show it; see `reports.notebook.report`."""
    from reports import notebook

    return notebook.report(experiment, allow, root)
