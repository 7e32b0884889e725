"""An engine that makes runs as Slurm jobs through submitit, one or several runs per job, or as local processes.

A job that ends early, for example at its time limit, needs no special treatment: its runs have checkpoints and are
submitted again. Jobs may outlive the command; when it is started again, it waits for runs that are still being made.
"""

import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import joblib
import submitit
from submitit.core.utils import FailedJobError

from harness.execution.engines.engine import Function, Lost
from harness.execution.engines.where import Where, code_root
from harness.execution.stopping import Stop
from harness.plans.spec import Circumstances
from harness.values import HarnessError, SpecError

_LOOK_SECONDS = 5.0
"""Interval between queries to Slurm, which serves many users."""
_YEAR_MINUTES = 365 * 24 * 60
_WARNED_SECONDS = 60
"""Warning before a job's time limit, for a checkpoint; a quarter of shorter limits. Slurm checks twice a minute."""

Batch = list["tuple[str, Future[str]]"]


class Slurm:
    """Collects work until it is polled, then submits it as one job array.

    Raises:
        HarnessError: sbatch is not installed, or the time limit is not in a format that it accepts.
    """

    name = "Slurm"

    def __init__(self, where: Where, around: Circumstances, root: Path):
        threads, gpus = int(around.threads), int(around.device.startswith("cuda"))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(code_root()), os.environ.get("PYTHONPATH")]))
        self._runs, self._local, folder = where.runs, where.local, root / "runs" / "slurm"
        self._waiting: Batch = []
        self._function: Function | None = None
        self._jobs: list[tuple[submitit.Job[list[str]], Batch]] = []
        self._over: list[submitit.Job[list[str]]] = []
        self._looked = 0.0
        if where.local:
            self.room = max(1, joblib.cpu_count() // threads) * where.runs
            self._executor: Any = submitit.LocalExecutor(folder)
            self._executor.update_parameters(timeout_min=_YEAR_MINUTES, gpus_per_node=gpus)
            return
        if shutil.which("sbatch") is None:
            raise HarnessError(
                "SLURM needs sbatch, which this machine lacks: run this on a cluster, or take SLURM=local"
            )
        self.room = 1000 * where.runs
        self._executor = submitit.SlurmExecutor(folder)
        options = {name: value for name, value in where.slurm.items() if name != "time"}
        if gpus and "gres" not in options:
            options["gres"] = "gpu:1"
        limit = minutes(where.slurm.get("time", "60"))
        self._executor.update_parameters(
            cpus_per_task=threads,
            job_name="harness",
            signal_delay_s=min(_WARNED_SECONDS, 15 * limit),
            stderr_to_stdout=True,
            additional_parameters=options,
            time=limit,
        )

    def submit(self, function: Function, payload: str) -> "Future[str]":
        future, self._function = Future[str](), function
        self._waiting.append((payload, future))
        return future

    def poll(self, seconds: float) -> None:
        self._begin()
        until = time.monotonic() + seconds
        while not self._gather() and time.monotonic() < until:
            time.sleep(min(0.1, seconds))

    def close(self) -> None:
        requeued = (self._listed("--states=PENDING") or set()) if self._over and not self._local else set()
        for job in [*(job for job, _ in self._jobs), *(job for job in self._over if job.job_id in requeued)]:
            job.cancel(check=False)
        self._jobs, self._over, self._waiting = [], [], []

    def _begin(self) -> None:
        """Submit the work collected since the last poll."""
        batches = [self._waiting[n : n + self._runs] for n in range(0, len(self._waiting), self._runs)]
        self._waiting = []
        if not batches:
            return
        try:
            with self._executor.batch():
                jobs = [self._executor.submit(_several, self._function, [text for text, _ in each]) for each in batches]
        except FailedJobError as error:  # sbatch refused
            said = [line for line in str(error).splitlines() if "error:" in line]
            raise HarnessError(f"SLURM: {(said or [str(error)])[0].strip()}; correct SLURM and run it again") from error
        self._jobs += zip(jobs, batches, strict=True)

    def _gather(self) -> bool:
        """Update the futures of jobs that have ended; returns True if there were any."""
        alive = self._alive()
        over = [
            (job, batch)
            for job, batch in self._jobs
            if _answered(job) or (alive is not None and job.job_id not in alive)
        ]
        self._jobs = [pair for pair in self._jobs if pair not in over]
        self._over += [job for job, _ in over]
        for job, batch in over:
            answers, problem = _result(job)
            for number, (_, future) in enumerate(batch):
                if number < len(answers):
                    future.set_result(answers[number])
                else:
                    future.set_exception(Lost(problem))
        return bool(over)

    def _alive(self) -> set[str] | None:
        """The ids of jobs that are pending or running; None if Slurm was not asked or did not answer."""
        if self._local:
            return {job.job_id for job, _ in self._jobs if not job.done()}
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return None
        self._looked = time.monotonic()
        return self._listed()

    def _listed(self, *options: str) -> set[str] | None:
        """The ids of the user's jobs that Slurm has queued or running; None if it does not answer."""
        asked = subprocess.run(
            ["squeue", "--me", "--noheader", "--array", "--format=%i", *options], capture_output=True, text=True
        )
        return set(asked.stdout.split()) if asked.returncode == 0 else None


def minutes(text: str) -> int:
    """Convert sbatch's time formats to minutes.

    Args:
        text: minutes, hours:minutes:seconds, days-hours, days-hours:minutes or days-hours:minutes:seconds.

    Raises:
        SpecError: the text has none of these formats.
    """
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if all(part.isascii() and part.isdigit() for part in [days if dash else "0", *parts]) and len(parts) <= 3:
        numbers = [int(part) for part in parts]
        if dash:
            hours, mins, secs = (*numbers, 0, 0)[:3]
        elif len(numbers) == 3:
            hours, mins, secs = numbers
        else:
            hours, (mins, secs) = 0, (*numbers, 0)[:2]
        found = int(days or 0) * 24 * 60 + hours * 60 + mins + (secs > 0)
        if found:
            return found
    raise SpecError(f"SLURM's time must be minutes, or as in 2:30:00 or 1-12; got {text!r}")


def _several(function: Function, payloads: list[str]) -> list[str]:
    """Run in the job: execute the payloads one after the other, until Slurm signals that the time limit is near."""
    answers, stop = list[str](), Stop(quiet=True)
    with stop.listening(signal.SIGUSR2):
        for payload in payloads:
            if stop():
                break
            answers.append(function(payload))
    return answers


def _answered(job: "submitit.Job[list[str]]") -> bool:
    folder = job.paths.folder
    os.utime(folder)  # makes a network file system read the folder again
    return job.paths.result_pickle.exists()


def _result(job: "submitit.Job[list[str]]") -> tuple[list[str], str]:
    """The answers of a job that has ended, and the reason why the remaining ones are missing."""
    try:
        return job.result(), "a job of Slurm's stopped"
    except Exception as error:  # submitit raises the job's error, or finds no result file
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        return [], f"job {job.job_id} ended without an answer ({last}); its log: {job.paths.stdout}"
