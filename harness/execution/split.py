"""Choose how many runs to make at once and how many threads each gets, so that the whole plan is fastest.

Threads synchronise at every layer, separate runs do not. On a CPU many runs with one thread each are therefore usually
fastest; one run at a time wins only if starting workers costs more than it saves, or if memory is short. On 2 cores
with AVX512-BF16, two processes of one thread each trained `norm_cnn` 1.3 to 1.8 times as fast as one with two threads.
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
"""If all runs one after the other train for less than this, starting workers does not pay."""
_SHARE = 20
"""Speed is measured only if training takes at least this many times as long as measuring."""
_START_SECONDS = 10.0
"""Approximate time in which all workers, started together, import torch."""
_ROUNDS, _ROUND_SECONDS = 2, 1.5
_MEMORY = 0.8
"""Share of the available memory that concurrent runs may use in total."""


class Split(Values):
    """The number of concurrent runs, the threads of each, and the reason for this choice."""

    jobs: int
    threads: int
    reason: str = ""


class Probe(Values):
    """A request to a worker: train with this recipe for a number of seconds."""

    root: str
    recipe: Recipe
    circumstances: Circumstances
    seconds: float


class Speed(Values):
    steps_per_second: float
    bytes: int


def choose(plan: Plan, datasets: Mapping[Data, Dataset], root: Path, asked: Circumstances) -> Split:
    """Choose the number of concurrent runs and their threads for a plan.

    Args:
        root: the project's folder.
        asked: the circumstances as the user gave them; a given number of threads is kept.
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
        return Split(jobs=jobs, threads=cores // jobs, reason="one thread a run, as the grid is too short to measure")
    return measure(plan, root, cores, candidates)


def measure(plan: Plan, root: Path, cores: int, candidates: list[int]) -> Split:
    """Measure each candidate's total training speed for a few seconds, alternating with a single process.

    Args:
        candidates: numbers of concurrent runs to try.
    """
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
    rates = {jobs: max(found) for jobs, found in seen.items()}  # other load can only slow it down
    best = max(rates, key=lambda jobs: rates[jobs] * (1 if jobs > 1 else autotune.GAIN))
    gains = ", ".join(f"{jobs} at once {rate / rates[1]:.2f} times" for jobs, rate in rates.items() if jobs > 1)
    short = "; memory allows no more" if len(fitting) <= len(candidates) else ""
    reason = f"measured, beside one run with {cores} threads: {gains or 'nothing'}{short}"
    return Split(jobs=best, threads=max(1, cores // best), reason=reason)


def apply(plan: Plan, asked: Circumstances, split: Split) -> tuple[Plan, Circumstances]:
    """The plan and the requested circumstances, both with the chosen number of runs and threads."""
    found = {"jobs": split.jobs, "threads": split.threads}
    return replace(plan, circumstances=plan.circumstances.model_copy(update=found)), asked.model_copy(update=found)


def _recorded_threads(experiment: Path) -> int | None:
    """Thread count of existing runs, which new runs must share to be comparable; None if there are no runs."""
    for path in sorted(experiment.glob(f"*/{journal.NAME}")):
        for event in journal.read(path.parent) if path.is_file() else ():
            if isinstance(event, Started):
                return int(event.circumstances.threads)
    return None


def _speeds(
    engine: Processes, root: Path, recipe: Recipe, around: Circumstances, jobs: int, threads: int
) -> list[Speed]:
    """Training speeds of `jobs` processes that train at the same time."""
    here = around.model_copy(update={"threads": threads, "step": "eager", "jobs": 1})
    probe = Probe(root=str(root), recipe=recipe, circumstances=here, seconds=_ROUND_SECONDS).model_dump_json()
    futures = [engine.submit(train_for_a_while, probe) for _ in range(jobs)]
    while not all(future.done() for future in futures):
        engine.poll(1.0)
    return [Speed.model_validate_json(future.result()) for future in futures]


def train_for_a_while(payload: str) -> str:
    """Run in a worker: train for a while and measure steps per second and peak memory (`Probe` to `Speed`, as JSON)."""
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
