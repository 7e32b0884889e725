"""`make bench-growth`: what planning, delivering, reporting and a command with nothing left to do cost, as runs grow.

Runs of 24 epochs with logits of 10,000 test images are written by the harness's own code and never trained. Every
command is a process of its own, in a copy of the project with an SQLite store. The figures go to docs/growth.md.
"""

import argparse
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

from matplotlib.figure import Figure

from harness.artifacts.figures import new, save
from harness.execution.check import check
from harness.execution.run import run_folder
from harness.plans import catalog
from harness.plans.plan import Plan, plan, together
from harness.training.device import detect
from tests.bench import fabricated, table
from tests.bench.start_up import copy_project

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (2, 20, 200)
"""Of 5 variants: 10, 100 and 1,000 runs."""
PLANNED = 2000
"""Seeds of those 5 variants that are planned and never made: 10,000 runs, by twice as many as one command may ask."""


@dataclass(frozen=True)
class Cost:
    """One command at one number of runs."""

    what: str
    runs: int
    seconds: float
    """By the clock."""
    processor_seconds: float
    """Of the process and its children, in user and in system."""
    megabytes: float | None
    """Of the largest process, resident; None where it was not measured."""

    def cells(self) -> list[str]:
        return [
            self.what,
            f"{self.runs:,}",
            f"{self.seconds:.1f}",
            f"{self.processor_seconds:.1f}",
            "" if self.megabytes is None else f"{self.megabytes:,.0f}",
        ]


_LAUNCH = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(status)
"""
"""A small process in between: Linux counts what its parent had in memory as a process's own peak."""


def timed(what: str, runs: int, command: Sequence[str], folder: Path) -> Cost:
    """Run a command to its end.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    clock = time.perf_counter()
    launched = [sys.executable, "-c", _LAUNCH, sys.executable, *command]
    said = subprocess.run(launched, cwd=folder, env=environment, check=True, capture_output=True).stdout
    seconds = time.perf_counter() - clock
    processor_seconds, kilobytes = map(float, said.split()[-2:])
    return Cost(what, runs, seconds, processor_seconds, kilobytes / 1024)


def planned(root: Path, seeds: int) -> Plan:
    """The fabricated experiment's runs, completed by its images."""
    experiment = catalog.load(fabricated.NAME, root)
    return check(plan(experiment, detect(experiment.circumstances.device), seeds=tuple(range(seeds))), root)[0]


def planning(root: Path, seeds: int) -> Cost:
    """From the experiment's values to every run's key and folder, in this process."""
    planned(root, 1)  # the images are read once, whatever is planned
    clock, processor = time.perf_counter(), time.process_time()
    made = planned(root, seeds)
    folders = {run_folder(root, spec) for group in together(made) for spec in group}
    seconds = time.perf_counter() - clock, time.process_time() - processor
    assert len(folders) == len(made.runs)
    return Cost("planning", len(made.runs), *seconds, None)


def measure(project: Path, seeds: int) -> list[Cost]:
    """Every command at one more number of seeds than were there before."""
    made = planned(project, seeds)
    new_runs = fabricated.write(made, project)
    run = ("-m", "harness", "run", f"--seeds={seeds}", fabricated.NAME)
    at = functools.partial(timed, runs=len(made.runs), folder=project)
    return [
        at(f"`make run`, all made, {new_runs:,} to deliver", command=run),
        at("`make run`, nothing left to do", command=run),
        at("`make sync`, nothing left to do", command=("-m", "harness", "sync")),
        at("`make report`", command=("-m", "reports", "write", fabricated.NAME)),
    ]


def make_project(folder: Path) -> Path:
    """A copy of the code, with the fabricated experiment and its images."""
    project = copy_project(ROOT, folder)
    ignored = shutil.ignore_patterns("__pycache__", "out", "published")
    shutil.copytree(ROOT / "reports", project / "reports", ignore=ignored)
    fabricated.prepare(project)
    return project


def markdown(where: dict[str, object], costs: Sequence[Cost], picture: str) -> str:
    """The page: where it was measured, the table, the curve."""
    commit = f"commit {str(where['commit'] or 'unknown')[:12]}{', changed since' if where['dirty'] else ''}"
    columns = ["", "runs", "seconds", "processor seconds", "peak memory, MB"]
    return (
        "# What more runs cost\n\n"
        f"{where['date']}, `{where['command']}`, {commit}: {where['processor']}, {where['threads']} cores, "
        f"{where['memory_gb']} GB, load before {where['load_before']}. {fabricated.ABOUT} The store is SQLite. "
        "Processor seconds, of all processes of a command, tell more than seconds on a machine that others use.\n\n"
        + table.markdown_table(columns, [cost.cells() for cost in costs])
        + f"\n![Processor seconds of each command by number of runs]({picture})\n"
    )


def _line(what: str) -> str:
    """A command's name in the figure, without how many runs it delivers."""
    return re.sub(r", [\d,]+ to deliver|`", "", what)


def draw(costs: Sequence[Cost], file: Path) -> Figure:
    """Processor seconds by number of runs, both logarithmic; a line a command."""
    lines: dict[str, list[Cost]] = {}
    for cost in costs:
        lines.setdefault(_line(cost.what), []).append(cost)
    figure = new(6.4, 4.2)
    axes = figure.subplots()
    for name, points in lines.items():
        axes.plot([p.runs for p in points], [p.processor_seconds for p in points], marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="runs", ylabel="processor seconds")
    axes.legend()
    save(figure, file)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write docs/growth.md and its curve."""
    parser = argparse.ArgumentParser(prog="tests.bench.growth", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS), help="of each of the 5 variants")
    parser.add_argument("--keep", type=Path, help="a folder for the project, which then stays")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="where growth.md goes")
    chosen = parser.parse_args(arguments)
    where = table.machine(ROOT, "cpu", "make bench-growth", ("mlflow", "matplotlib", "numpy"))
    with tempfile.TemporaryDirectory(prefix="growth-") as scratch:
        project = make_project(chosen.keep or Path(scratch))
        costs = [planning(project, PLANNED)]
        for seeds in chosen.seeds:
            costs += measure(project, seeds)
            print(*costs[-4:], sep="\n", flush=True)
    draw(costs, chosen.out / "growth.png")
    (chosen.out / "growth.md").write_text(markdown(where, costs, "growth.png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
