"""`make bench-grid`: what handing runs out costs, and what JOBS=auto gains over one run after the other.

The first is measured with runs that only wait two seconds, four at once, in workers that have started: the share of the
ideal time. The second is the real command on a grid as norm_comparison's (three norms, two seeds, 32x32 images), and on
one of the ResNet (two rates of dropout, two seeds), the two ways in turns, each from nothing to the last run recorded.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from harness.environment import processor

PROJECT = Path(__file__).resolve().parents[2]
WAIT_SECONDS, AT_ONCE, RUNS = 2.0, 4, 40
_EXPERIMENT = """
from harness import SGD, Circumstances, Data, Experiment, Model, OneCycle, Recipe

EXPERIMENT = Experiment(
    name="timed",
    question="How long do these runs take?",
    base=Recipe(
        data=Data(name="digits", image_size=32),
        model=Model(name={model!r}),
        optimizer=SGD(lr=0.02, momentum=0.9),
        schedule=OneCycle(),
        epochs={epochs},
        batch_size=128,
    ),
    variants={variants!r},
    factor=({factor!r},),
    baseline={baseline!r},
    seeds=(0, 1),
    circumstances=Circumstances(device="cpu", memory_format="channels_last", step="eager"),
)
"""


def wait_and_end(payload: str) -> str:
    """In a worker: a run that waits, and then is over."""
    from harness.execution.engines.task import Answer, Task
    from harness.execution.run import run_folder
    from harness.records.events import Diverged
    from harness.records.journal import Journal

    task = Task.model_validate_json(payload)
    time.sleep(WAIT_SECONDS)
    kept = Journal(run_folder(Path(task.root), task.specs[0]))
    kept.append(Diverged(time=time.time(), step=1, where="train"))
    return Answer().model_dump_json()


def start_only(payload: str) -> str:
    """In a worker: import what runs need, and be there."""
    from harness.execution.engines import task

    time.sleep(1.0)  # so that each worker gets one of these
    return task.Answer().model_dump_json()


def overhead(runs: int) -> float:
    """The share of the ideal time that the grid takes."""
    from harness.execution import grid
    from harness.execution.engines.processes import Processes
    from harness.execution.following import lifeline
    from harness.execution.outset import Outset
    from harness.execution.progress import Board
    from harness.plans.plan import together
    from tests.bench import grid as here
    from tests.harness.execution.engines.conftest import Courier, planned

    plan = planned(AT_ONCE)
    first = plan.runs[0]
    plan = replace(plan, runs=tuple(first.model_copy(update={"seed": seed}) for seed in range(runs)), declared=())
    with tempfile.TemporaryDirectory() as folder:
        root, engine, board = Path(folder), Processes(AT_ONCE), Board(plan)
        warm = [engine.submit(here.start_only, "") for _ in range(AT_ONCE)]
        while not all(future.done() for future in warm):
            engine.poll(1.0)
        outset = Outset(plan, {}, root, board.say)
        made = grid.Grid(outset, cast(Any, Courier()), board, lambda: False)
        grid.make = here.wait_and_end
        with lifeline(root / "runs" / plan.design.experiment) as alive:
            made.alive, began = alive, time.perf_counter()
            made.make(together(plan), engine, 0, {}, ())
            took = time.perf_counter() - began
        engine.close()
        board.close()
    return -(-runs // AT_ONCE) * WAIT_SECONDS / took


@dataclass(frozen=True)
class Timed:
    """A grid that is made in two ways."""

    model: str
    variants: dict[str, dict[str, object]]
    epochs: int
    must: float
    """How many times as fast JOBS=auto has to be."""

    def experiment(self) -> str:
        baseline, other = list(self.variants)[:2]
        (factor,) = self.variants[other]
        return _EXPERIMENT.format(
            model=self.model, epochs=self.epochs, variants=self.variants, factor=factor, baseline=baseline
        )


def grids(epochs: int, resnet_epochs: int) -> tuple[Timed, ...]:
    norms = {"batch": {}, "group": {"model.norm": "group"}, "layer": {"model.norm": "layer"}}
    rates = {"without": {}, "with": {"model.dropout": 0.1}}
    return Timed("norm_cnn", norms, epochs, must=1.4), Timed("resnet", rates, resnet_epochs, must=0.97)


def command(timed: Timed, *arguments: str) -> float:
    """Seconds of one `make run`, but for its report, in a project of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "experiments").mkdir()
        (root / "experiments" / "timed.py").write_text(timed.experiment())
        code = f"import sys, pathlib, harness.__main__ as m; m.ROOT = pathlib.Path({folder!r}); sys.exit(m.main())"
        environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        called = [sys.executable, "-c", code, "run", *arguments, "--", "timed"]
        began = time.perf_counter()
        done = subprocess.run(called, cwd=PROJECT, env=environment, capture_output=True, text=True)
        took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    print(*(line for line in done.stdout.splitlines() if line.startswith(("jobs:", "training step:"))), sep="\n")
    return took


def interleaved(rounds: int, *ways: Callable[[], float]) -> list[list[float]]:
    """Each way's seconds, one of each in every round."""
    return [list(column) for column in zip(*([way() for way in ways] for _ in range(rounds)), strict=True)]


def _said(seconds: Sequence[float]) -> str:
    return f"median {statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"


def _gain(timed: Timed, rounds: int) -> bool:
    """Prints how many times as fast JOBS=auto is; whether that is enough."""
    cores = os.cpu_count() or 1
    serial, auto = interleaved(
        rounds,
        lambda: command(timed, f"--set=threads={cores}"),
        lambda: command(timed, "--jobs=auto"),
    )
    gain = statistics.median(serial) / statistics.median(auto)
    print(f"{timed.model}, {2 * len(timed.variants)} runs of {timed.epochs} epochs, {rounds} rounds:")
    print(f"one after the other, {cores} threads: {_said(serial)}")
    print(f"JOBS=auto: {_said(auto)}: {gain:.2f} times as fast (at least {timed.must})", flush=True)
    return gain >= timed.must


def main(arguments: Sequence[str]) -> int:
    """Rounds, epochs of either grid, runs to hand out may be given; 0 if every figure reaches what is promised."""
    defaults = ("3", "24", "3", str(RUNS))
    rounds, epochs, resnet_epochs, runs = (int(given) for given in (*arguments, *defaults[len(arguments) :]))
    share = overhead(runs)
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(
        f"handing out {runs} runs of {WAIT_SECONDS:.0f} s, {AT_ONCE} at once: {share:.1%} of ideal (at least 90%)",
        flush=True,
    )
    kept = [_gain(timed, rounds) for timed in grids(epochs, resnet_epochs)]
    return 0 if share >= 0.9 and all(kept) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
