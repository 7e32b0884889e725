"""`make bench-growth`: what planning, delivering, reporting and a command with nothing left to do cost, as runs grow.

Runs of 24 epochs with logits of 10,000 test images are written by the harness's own code and never trained. Every
command is a process of its own, in a copy of the project. It records into an SQLite file, or through `make server` into
PostgreSQL, which must be installed. The figures go to docs/growth.md.
"""

import argparse
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

from harness.execution.check import check
from harness.execution.run import run_folder
from harness.plans import catalog
from harness.plans.plan import Plan, plan, together
from harness.training.device import detect
from tests.bench import fabricated, table
from tests.bench.growth_page import REPORT, STORES, Cost, write
from tests.bench.start_up import copy_project
from tests.chaos.team import TeamServer
from tests.harness.postgres import Postgres, missing

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (2, 20, 200)
"""Of 5 variants: 10, 100 and 1,000 runs."""
PLANNED = 2000
"""Seeds of those 5 variants that are planned and never made: 10,000 runs, by twice as many as one command may ask."""


_LAUNCH = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(status)
"""
"""A small process in between: Linux counts what its parent had in memory as a process's own peak."""


def timed(what: str, runs: int, command: Sequence[str], folder: Path, uri: str | None = None) -> Cost:
    """Run a command to its end.

    Args:
        uri: of its tracking store; without it, its own.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {"MLFLOW_TRACKING_URI": uri} if uri else {}
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


def measure(project: Path, seeds: int, uri: str | None) -> list[Cost]:
    """Every command at one more number of seeds than were there before."""
    made = planned(project, seeds)
    new_runs = fabricated.write(made, project)
    run = ("-m", "harness", "run", f"--seeds={seeds}", fabricated.NAME)
    at = functools.partial(timed, runs=len(made.runs), folder=project, uri=uri)
    return [
        at(f"`make run`, all made, {new_runs:,} to deliver", command=run),
        at("`make run`, nothing left to do", command=run),
        at("`make sync`, nothing left to do", command=("-m", "harness", "sync")),
        at(REPORT, command=("-m", "reports", "write", fabricated.NAME)),
    ]


def make_project(folder: Path) -> Path:
    """A copy of the code, with the fabricated experiment and its images."""
    project = copy_project(ROOT, folder)
    ignored = shutil.ignore_patterns("__pycache__", "out", "published")
    shutil.copytree(ROOT / "reports", project / "reports", ignore=ignored)
    fabricated.prepare(project)
    return project


@contextmanager
def store(name: str, folder: Path) -> Iterator[str | None]:
    """A tracking store's address; None for the project's own."""
    if name == "sqlite":
        yield None
        return
    with Postgres() as postgres, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        postgres.sql("CREATE DATABASE growth")
        with TeamServer(folder, postgres.uri("growth"), port, WORKERS="2") as server:
            yield server.uri


def measured(name: str, seeds: Sequence[int], folder: Path) -> list[Cost]:
    """Every command at every number of runs, in a project of its own, over one store."""
    project = make_project(folder)
    with store(name, folder) as uri:
        costs = [planning(project, PLANNED)]
        for each in seeds:
            costs += measure(project, each, uri)
            print(name, *costs[-4:], sep="\n", flush=True)
    return costs


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write docs/growth.md and its curves; 2 for a store that is none or cannot be started here."""
    parser = argparse.ArgumentParser(prog="tests.bench.growth", description=__doc__)
    parser.add_argument("stores", nargs="?", default="", help=f"of {', '.join(STORES)}; all that can be started")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS), help="of each of the 5 variants")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="where growth.md goes")
    chosen = parser.parse_args(arguments)
    reason = missing()
    asked = chosen.stores.split() or [name for name in STORES if name == "sqlite" or not reason]
    wrong = [name for name in asked if name not in STORES]
    if wrong or (reason and "postgresql" in asked):
        said = f"SECTIONS must be of {', '.join(STORES)}; got {wrong[0]!r}" if wrong else f"postgresql: {reason}"
        print(f"error: {said}", file=sys.stderr)
        return 2
    for name in asked:
        command = f"make bench-growth SECTIONS={name}"
        where = table.machine(ROOT, "cpu", command, ("mlflow", "matplotlib", "numpy"))
        with tempfile.TemporaryDirectory(prefix="growth-") as scratch:
            write(chosen.out, name, where, measured(name, chosen.seeds, Path(scratch)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
