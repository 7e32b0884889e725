"""`make forget`: delete runs in `runs/` and in MLflow."""

import argparse
from pathlib import Path

from harness.tracking.forget import forget as delete
from harness.tracking.tracker import Tracker
from harness.values import SpecError


def forget(chosen: argparse.Namespace, root: Path) -> int:
    """Delete the runs named by RUN= and print what was deleted; returns the exit status."""
    keys = list(dict.fromkeys(chosen.runs.split()))
    if not keys:
        raise SpecError("RUN must name one run or several by their keys, as a report's table of runs has them")
    gone = delete(Tracker(root), root, keys)
    left = f"; {gone.of_others} of the same keys that other projects have recorded stay" if gone.of_others else ""
    print(
        f"deleted: {gone.folders} in runs/, {gone.runs} in MLflow (restored there with mlflow runs restore, until "
        f"mlflow gc){left}"
    )
    return 0
