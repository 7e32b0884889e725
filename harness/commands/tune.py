"""The steps of `make run` around making the runs: tuning, the shared LR range test, and interim looks."""

from collections.abc import Callable, Mapping
from pathlib import Path

from harness.data.load import Dataset
from harness.execution.check import check
from harness.execution.execute import Outcome
from harness.execution.rates import find_shared
from harness.execution.tune import tune
from harness.execution.until import until
from harness.plans.plan import Plan
from harness.plans.spec import Data
from harness.records.events import LRFound

Make = Callable[[Plan, Mapping[Data, Dataset], Mapping[str, LRFound]], Outcome]
"""Makes the runs of a plan on these data sets; the last argument maps run keys to shared LR range tests."""


def make_all(
    plan: Plan, datasets: Mapping[Data, Dataset], root: Path, workers: int, make: Make
) -> tuple[Plan, Outcome]:
    """Make a plan's tuning trials, if any, then its runs: all of them, or until they are decided.

    Returns:
        The final plan and its outcome; if a signal stopped the trials, the outcome of the trials.

    Raises:
        HarnessError: raised by `tune`, `find_shared`, `until` or `make`.
    """
    if plan.tune:
        plan, stopped = tune(plan, root, lambda trials: make(*check(trials, root), {}))
        if stopped:
            return plan, stopped
    plan, found = find_shared(plan, datasets, root, workers)
    if plan.design.looks:
        return until(plan, root, lambda part: make(part, datasets, found))
    return plan, make(plan, datasets, found)
