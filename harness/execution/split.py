"""How many runs to make at once, with how many threads each: what makes the whole grid fastest, measured once and kept.

Threads wait for each other at every layer, runs never do. So on a CPU one thread a run is the first choice, and one run
after the other pays only where starting workers costs more than it saves, or memory is short. On 2 cores with
AVX512-BF16, two processes of one thread each trained `norm_cnn` 1.3 to 1.8 times as fast as one with two threads.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import joblib
import psutil

from harness.data.load import Dataset, load
from harness.execution.engines.processes import Processes
from harness.plans.plan import Plan, together
from harness.plans.spec import Circumstances, Data, Recipe
from harness.records import journal
from harness.records.events import Started
from harness.training import autotune
from harness.training.device import gpus, peak_memory_bytes
from harness.values import Values

WORTH_SECONDS = 60.0
"""A grid that trains for less, one run after the other, is over before workers have paid for their start."""
_SHARE = 20
"""A grid that does not take this many times as long as measuring is not measured."""
_START_SECONDS = 10.0
"""For workers to import torch, about, all of them at once."""
_ROUNDS, _ROUND_SECONDS = 2, 1.5
_MEMORY = 0.8
"""Of what is available, for all runs at once."""


class Split(Values):
    """Runs at once, threads for each, and why."""

    jobs: int
    threads: int
    reason: str = ""


class Probe(Values):
    """Training steps for a worker to take."""

    root: str
    recipe: Recipe
    circumstances: Circumstances
    seconds: float


class Speed(Values):
    steps_per_second: float
    bytes: int


def choose(plan: Plan, datasets: Mapping[Data, Dataset], root: Path, asked: Circumstances) -> Split:
    """The split for this plan's runs.

    Args:
        asked: as the user left them: threads that are given are kept.
    """
    if plan.circumstances.device != "cpu":
        jobs = max(1, gpus())
        return Split(jobs=jobs, threads=max(1, int(plan.circumstances.threads) // jobs), reason="one run a GPU")
    cores, groups = joblib.cpu_count(only_physical_cores=True), len(together(plan))
    given = _recorded_threads(root / "runs" / plan.design.experiment) if asked.threads == "auto" else asked.threads
    if given is not None:
        jobs = max(1, min(groups, cores // int(given)))
        return Split(jobs=jobs, threads=int(given), reason=f"{given} threads a run are given")
    serial = autotune.serial_seconds(plan, datasets)
    if groups == 1 or cores == 1 or serial < WORTH_SECONDS:
        return Split(jobs=1, threads=cores, reason="" if groups == 1 else "too short for workers to pay")
    candidates = [jobs for n in range(11) if 1 < (jobs := cores >> n) <= groups]
    steps = autotune.total_steps(plan, datasets)
    cost = _START_SECONDS + _ROUNDS * (1 + len(candidates)) * (_ROUND_SECONDS + 5 * serial / steps)
    if serial < _SHARE * cost or not candidates:
        jobs = min(groups, cores)
        return Split(jobs=jobs, threads=cores // jobs, reason="one thread a run, for the grid is too short to measure")
    return measure(plan, root, cores, candidates)


def measure(plan: Plan, root: Path, cores: int, candidates: list[int]) -> Split:
    """Train side by side for a few seconds, in as many processes as each candidate says and in one, in turns."""
    recipe, engine = plan.runs[0].recipe, Processes(max(candidates))
    try:
        alone = _speeds(engine, root, recipe, plan.circumstances, 1, cores)[0]
        room = int(_MEMORY * psutil.virtual_memory().available / alone.bytes)
        fitting = [1, *(jobs for jobs in candidates if jobs <= room)]
        seen: dict[int, list[float]] = {jobs: [] for jobs in fitting}
        for _ in range(_ROUNDS):
            for jobs, rates in seen.items():
                speeds = _speeds(engine, root, recipe, plan.circumstances, jobs, cores // jobs)
                rates.append(sum(speed.steps_per_second for speed in speeds))
    finally:
        engine.close()
    rates = {jobs: max(found) for jobs, found in seen.items()}  # what else the machine does only slows
    best = max(rates, key=lambda jobs: rates[jobs] * (1 if jobs > 1 else autotune.GAIN))
    gains = ", ".join(f"{jobs} at once {rate / rates[1]:.2f} times" for jobs, rate in rates.items() if jobs > 1)
    short = "; memory allows no more" if len(fitting) <= len(candidates) else ""
    reason = f"measured, beside one run with {cores} threads: {gains or 'nothing'}{short}"
    return Split(jobs=best, threads=max(1, cores // best), reason=reason)


def apply(plan: Plan, asked: Circumstances, split: Split) -> tuple[Plan, Circumstances]:
    """The plan and what was asked, with the split in place of what was left open."""
    found = {"jobs": split.jobs, "threads": split.threads}
    return replace(plan, circumstances=plan.circumstances.model_copy(update=found)), asked.model_copy(update=found)


def _recorded_threads(experiment: Path) -> int | None:
    """Threads of the runs that are there already: others could not be compared with them."""
    for path in sorted(experiment.glob(f"*/{journal.NAME}")):
        for event in journal.read(path.parent) if path.is_file() else ():
            if isinstance(event, Started):
                return int(event.circumstances.threads)
    return None


def _speeds(
    engine: Processes, root: Path, recipe: Recipe, around: Circumstances, jobs: int, threads: int
) -> list[Speed]:
    """Of so many processes that train at the same time."""
    here = around.model_copy(update={"threads": threads, "step": "eager", "jobs": 1})
    probe = Probe(root=str(root), recipe=recipe, circumstances=here, seconds=_ROUND_SECONDS).model_dump_json()
    futures = [engine.submit(train_for_a_while, probe) for _ in range(jobs)]
    while not all(future.done() for future in futures):
        engine.poll(1.0)
    return [Speed.model_validate_json(future.result()) for future in futures]


def train_for_a_while(payload: str) -> str:
    """In a worker: the rate of whole training steps, and the most memory that they take. Both are JSON."""
    probe = Probe.model_validate_json(payload)
    dataset = load(probe.recipe.data, Path(probe.root))
    step = autotune.training_step(probe.recipe, probe.circumstances, dataset)
    step()
    step()
    began, taken = time.perf_counter(), 0
    while taken < 3 or time.perf_counter() - began < probe.seconds:
        step()
        taken += 1
    rate = taken / (time.perf_counter() - began)
    return Speed(steps_per_second=rate, bytes=peak_memory_bytes("cpu")).model_dump_json()
