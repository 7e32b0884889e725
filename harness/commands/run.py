"""`make run`: make every run of an experiment that has not been made yet."""

import argparse
import os
import sys
from pathlib import Path

from harness.commands import arguments, parser
from harness.execution.engines import processes


def run(chosen: argparse.Namespace, root: Path) -> int:
    """Make the missing runs.

    Returns:
        The exit status: 0 done, 1 some runs have no result or were not delivered, 128 plus the signal's number if
        stopped.
    """
    where, jobs = arguments.where(chosen)
    arguments.workers(chosen)  # check the number before anything is read
    parser.figures(os.environ.get("FIGURES", ""))  # these two are the report's, which would refuse them afterwards
    parser.switch(os.environ.get("ROPE", ""), "ROPE")
    planned, asked = arguments.planned(chosen, root, jobs)
    if where.engine == "processes" and asked.jobs != 1:
        processes.prepare()
    from harness.commands.tune import make_all
    from harness.environment import code_at_start
    from harness.execution.check import check
    from harness.execution.execute import execute
    from harness.execution.settle import settle
    from harness.plans.foresight import notes
    from harness.tracking.tracker import Tracker

    code_at_start(root)
    planned, datasets = check(planned, root)
    for line in notes(planned):
        print(line, flush=True)
    tracker = Tracker(root)
    planned = settle(planned, datasets, root, asked)
    at_once = planned.circumstances.jobs
    workers = arguments.workers(chosen, at_once if isinstance(at_once, int) else 1)
    allowed = chosen.allow.split()
    planned, outcome = make_all(
        planned,
        datasets,
        root,
        workers,
        lambda plan, sets, found: execute(plan, sets, tracker, root, workers, allowed, found, where),
    )
    if outcome.signal is not None:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 128 + outcome.signal
    name = planned.design.experiment
    if outcome.superseded:
        print(
            f"a concurrent command has replaced this plan of {name}, so the report shows that command's plan; "
            f"for a report of all runs: make run EXP={name}",
            file=sys.stderr,
        )
    problems = []
    if outcome.failed:
        problems.append(f"{len(outcome.failed)} of {len(planned.runs)} runs have no result: see above")
    if outcome.undelivered:
        problems.append(
            f"MLflow lacks what {outcome.undelivered} folders of runs/ hold; deliver it, once the store works, with: "
            "make sync"
        )
    if problems:
        print(f"error: {'; '.join(problems)}", file=sys.stderr)
    return 1 if problems else 0


def lr_find(chosen: argparse.Namespace, root: Path) -> int:
    """`make lr-find`: carry out an experiment's LR range tests without training."""
    planned, _ = arguments.planned(chosen, root)
    workers = arguments.workers(chosen)
    from harness.execution.check import check
    from harness.execution.execute import find_lrs

    planned, datasets = check(planned, root)
    for line in find_lrs(planned, datasets, workers):
        print(line, flush=True)
    return 0
