"""`make ui`: serve MLflow's pages for the local store, and print a link to each experiment's summary."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.parser import port

if TYPE_CHECKING:
    from harness.tracking.tracker import Tracker

HELP = "serve the MLflow UI"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", default="5000")


def act(chosen: argparse.Namespace, root: Path) -> int:
    """Print the links and serve until Ctrl-C; returns the exit status."""
    from harness.tracking.backend import require_free
    from harness.tracking.store import local_uri, serve_ui
    from harness.tracking.tracker import Tracker

    at = port(chosen.port, 5000)
    require_free("127.0.0.1", at)
    for line in links(Tracker(root, local_uri(root)), at):
        print(line)
    return serve_ui(root, at)


def links(tracker: "Tracker", port: int) -> Iterator[str]:
    """A line per experiment with the page of its summary run; the most recently planned experiment first."""
    summaries = [(name, run) for name in tracker.experiments() if (run := tracker.summary_run(name))]
    asked = {name: tracker.client.get_run(run.id).info.end_time or 0 for name, run in summaries}
    for name, run in sorted(summaries, key=lambda each: -asked[each[0]]):
        yield f"{name}: http://127.0.0.1:{port}/#/experiments/{tracker.experiment_id(name)}/runs/{run.id}"
