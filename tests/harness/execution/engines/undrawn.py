"""The function that makes runs, in a worker that draws no figures: they take longer than these runs."""

from typing import Any

from harness.artifacts import write
from harness.execution.engines import task


def make(payload: str, **local: Any) -> str:
    """As `task.make`."""
    write.write_artifacts = lambda *_: {}
    return task.make(payload, **local)
