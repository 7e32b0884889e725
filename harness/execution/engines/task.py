"""The task sent to a worker: a run, or the stacked seeds of a variant, as JSON; and the function that executes it.

Everything else is on storage that the worker shares with the program: the project's code, its decoded images (mapped
into memory) and `runs/` with journals and checkpoints.
"""

import functools
import logging
import signal
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from harness.data.load import load
from harness.environment import code_at_start
from harness.execution.run import run
from harness.execution.stopping import Stop
from harness.plans import catalog
from harness.plans.experiment import Design
from harness.plans.spec import Circumstances, Data, RunSpec
from harness.records.events import Event, LRFound
from harness.training.build import DeviceData, device_data
from harness.training.evaluate import Interrupted, ShouldStop
from harness.training.loop import StepDone
from harness.values import HarnessError, Values

_LOOK_SECONDS = 0.5
"""Interval between checks whether the program still wants its workers to continue."""


class Task(Values):
    """The runs to make, the project's folder, and the circumstances."""

    root: str
    """The project's folder, at the same path on every machine."""
    alive: str
    """A file created by the program; workers continue as long as it exists."""
    specs: tuple[RunSpec, ...]
    circumstances: Circumstances
    design: Design
    code: str
    """Digest of the program's training code."""
    workers: int
    found: dict[str, LRFound]
    allowed: tuple[str, ...]


class Answer(Values):
    """A worker's answer: whether the task could be started. Its results are in the journals."""

    problem: str = ""
    """The reason why some of it could not be started, in one line."""
    of_all: bool = False
    """True if no other task can be started either."""


@dataclass(frozen=True)
class Local:
    """What the program passes to tasks that it executes itself."""

    data: Callable[[Data], DeviceData]
    stop: ShouldStop
    tell: Callable[[RunSpec, StepDone | Event], None]


def make(payload: str, local: Local | None = None) -> str:
    """Execute a `Task` and return an `Answer`, both as JSON.

    Saves a checkpoint and stops when the program's `alive` file is gone, and on SIGTERM and SIGUSR2, which Slurm sends
    before a job's time limit.
    """
    task = Task.model_validate_json(payload)
    problem = "" if local else _unfit(task)
    if problem:
        return Answer(problem=problem, of_all=True).model_dump_json()
    signals = Stop(quiet=True)
    stop = local.stop if local else _Ends(Path(task.alive), signals)
    root, recipe = Path(task.root), task.specs[0].recipe
    try:
        with nullcontext() if local else signals.listening(signal.SIGUSR2):
            data = (
                local.data(recipe.data)
                if local
                else _data(root, recipe.data.model_dump_json(), task.circumstances.device)
            )
            if not local and data.dataset.checksum != task.specs[0].images:
                raise HarnessError(f"`data` {data.dataset.label!r} has other images on {socket.gethostname()}")
            begun = run(
                *(task.specs, task.circumstances, task.design, data, root, stop, task.workers),
                found=task.found,
                allowed=task.allowed,
            )
            for spec, event in begun:
                if local:
                    local.tell(spec, event)
    except Interrupted:
        pass
    except HarnessError as error:
        return Answer(problem=str(error)).model_dump_json()
    return Answer().model_dump_json()


class _Ends:
    """True once a worker should stop: after a signal, or when the program's file is gone."""

    def __init__(self, alive: Path, signals: Stop):
        self._alive, self._signals, self._looked, self._gone = alive, signals, time.monotonic(), False

    def __call__(self) -> bool:
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked, self._gone = time.monotonic(), not _is_there(self._alive)
        return self._gone or self._signals()


def _is_there(path: Path) -> bool:
    try:
        with path.open("rb"):  # opening a file makes a network file system ask its server
            return True
    except OSError:
        return False


def _unfit(task: Task) -> str:
    """The reason why this worker cannot make any run; "" if it can."""
    root, host = Path(task.root), socket.gethostname()
    if not _is_there(Path(task.alive)):
        return (
            f"a worker on {host} does not see what this command wrote into {Path(task.alive).parent}: the project's "
            "folder must lie on storage that all machines share, at the same path"
        )
    if code_at_start(root)["code"] != task.code:
        return f"the code in {root}/harness, as a worker on {host} reads it, is not this command's; run it again"
    logging.getLogger("harness.data").setLevel(logging.ERROR)  # the program has already reported skipped files
    try:
        _register(root, task.design.trials_of or task.specs[0].experiment)
    except HarnessError as error:
        return f"on {host}: {error}"
    return ""


@functools.cache
def _register(root: Path, experiment: str) -> None:
    """Import the experiment's file, which may register models."""
    if experiment in catalog.names(root):
        catalog.load(experiment, root)


@functools.lru_cache(maxsize=1)
def _data(root: Path, data: str, device: str) -> DeviceData:
    """Load a data set; the last one is cached for the next task."""
    return device_data(load(Data.model_validate_json(data), root), device)
