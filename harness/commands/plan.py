"""`make plan`: print what `make run` would do, how long it would take on this machine, and what it would cost.

No run is recorded. Threads, memory format and the form of the step are measured and stored as by `make run`, which then
uses them.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands import arguments
from harness.values import flatten

if TYPE_CHECKING:
    from harness.execution.forecast import Forecast
    from harness.plans.plan import Plan
    from harness.plans.spec import RunSpec

HELP = "what make run would do, its time, cost and disk usage on this machine"
STARTS = 3.0
"""The start of a run command (imports, opening the store) takes so many times as long as the imports of this command:
4.3 to 4.5 s (`make run` with nothing left to do, measured by `make bench-growth` on two idle cores of an AMD EPYC)
and 1.4 s of processor time. On a busy machine both take longer."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", metavar="EXP")
    for name in ("data", "seeds", "until", "max-seeds", "variants", "set", "workers"):
        parser.add_argument(f"--{name}", default="")


def act(chosen: argparse.Namespace, root: Path) -> int:
    """Print the plan; returns the exit status.

    Raises:
        HarnessError: `make run` would refuse the plan, or a run fails within its first steps.
    """
    planned, asked = arguments.planned(chosen, root)
    workers, clock = arguments.workers(chosen), time.perf_counter()
    from harness.execution.check import check
    from harness.execution.forecast import forecasts
    from harness.execution.made import find_made
    from harness.execution.settle import settle
    from harness.plans.foresight import notes

    start = STARTS * (time.perf_counter() - clock)
    planned, datasets = check(planned, root)
    made = [spec for spec in planned.runs if find_made(root, spec)]
    missing = [spec for spec in planned.runs if spec not in made]
    for line in [*described(planned, made), *notes(planned)]:
        print(line, flush=True)
    planned = settle(planned, datasets, root, asked) if missing else planned
    for line in costs(planned, missing, forecasts(planned, datasets, missing, workers), start):
        print(line)
    return 0


def described(plan: "Plan", made: Sequence["RunSpec"]) -> list[str]:
    """Lines with the question, the runs, and the differences between variants."""
    from harness.plans.differences import differences

    seeds, recipes = sorted({spec.seed for spec in plan.runs}), plan.recipes
    said = [
        f"{plan.design.experiment}: {plan.design.question}",
        f"runs: {len(plan.runs)}, of {', '.join(recipes)} with seeds {', '.join(map(str, seeds))}; made already: "
        f"{len(made)}",
    ]
    for field, values in differences(recipes).items():
        said.append(f"differs: {field} ({', '.join(f'{name}: {value}' for name, value in values.items())})")
    if plan.tune:
        said.append(f"tuned first: {plan.tune.trials} trials of each variant, which are not timed here")
    same = flatten(next(iter(recipes.values())))
    epochs = f"{same['epochs']} epoch{'s' * (same['epochs'] > 1)}"
    said.append(f"each: {epochs} of {same['data.name']} in batches of {same['batch_size']}")
    return said


def costs(plan: "Plan", missing: Sequence["RunSpec"], found: dict[str, "Forecast"], start: float) -> list[str]:
    """Lines with the time, the core or GPU hours, and the disk usage of the missing runs.

    Args:
        start: seconds until the first run begins.
    """
    if not missing:
        return ["time: none; every run is made"]
    around = plan.circumstances
    on_gpu = around.device.startswith("cuda")
    said = [
        f"{variant}: {_digits(1000 * each.step_seconds)} ms a step, {_digits(each.seconds)} s a run"
        for variant, each in found.items()
    ]
    at_once = around.jobs if isinstance(around.jobs, int) else 1
    total = start + sum(found[spec.variant].seconds for spec in missing) / at_once
    cores = int(around.threads) * at_once
    where = "a GPU" if on_gpu else f"{cores} of this machine's cores"
    order = "one run after the other" if at_once == 1 else f"{at_once} runs at once"
    said.append(f"time: about {lasting(total)} on {where}, {order}; the report comes on top")
    hours = total / 3600 * (1 if on_gpu else cores)
    number = _digits(hours, 2)
    said.append(f"cost: about {number} {'GPU' if on_gpu else 'core'} hour{'s' * (number != '1')}")
    size = sum(found[spec.variant].bytes for spec in missing)
    said.append(f"disk: about {_digits(size / 1e6)} MB in runs/, and at most as much again in MLflow's artifacts")
    return said


def _digits(value: float, digits: int = 3) -> str:
    """To so many significant digits, without an exponent: 0.0512; 9,870."""
    return f"{float(f'{value:.{digits}g}'):,.12g}"


def lasting(seconds: float) -> str:
    """A duration in a suitable unit: "50 s", "12 min", "3.5 h", "4.1 days"."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
