"""A piece of work as it travels: a run, or the stacked seeds of a variant, as values; and the function that makes it.

What a worker needs besides is on storage that it shares with the program: the project's code, its decoded images
(mapped into memory) and `runs/`, where journals and checkpoints are.
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
"""Between looks at whether the program wants its workers to go on."""


class Task(Values):
    """What is to be made, where, and under which circumstances."""

    root: str
    """The project's folder; the same path on every machine."""
    alive: str
    """A file of the program's: while it is there, workers go on."""
    specs: tuple[RunSpec, ...]
    circumstances: Circumstances
    design: Design
    code: str
    """Digest of the training code as the program has it."""
    workers: int
    found: dict[str, LRFound]
    allowed: tuple[str, ...]


class Answer(Values):
    """Whether the work could be begun; how it ended is in the journals."""

    problem: str = ""
    """Why some of it could not, in one line."""
    of_all: bool = False
    """No other work can be begun either."""


@dataclass(frozen=True)
class Local:
    """What the program itself has at hand when it makes the work."""

    data: Callable[[Data], DeviceData]
    stop: ShouldStop
    tell: Callable[[RunSpec, StepDone | Event], None]


def make(payload: str, local: Local | None = None) -> str:
    """Make a `Task`; returns an `Answer`. Both are JSON.

    Stops with a checkpoint when the program's file is gone, and at SIGTERM and SIGUSR2, which Slurm sends before a
    job's time is over.
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
    """Whether a worker is to stop: by a signal, or because the program's file is gone."""

    def __init__(self, alive: Path, signals: Stop):
        self._alive, self._signals, self._looked, self._gone = alive, signals, time.monotonic(), False

    def __call__(self) -> bool:
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked, self._gone = time.monotonic(), not _is_there(self._alive)
        return self._gone or self._signals()


def _is_there(path: Path) -> bool:
    try:
        with path.open("rb"):  # opening it has a network file system ask its server
            return True
    except OSError:
        return False


def _unfit(task: Task) -> str:
    """Why nothing can be made by this worker."""
    root, host = Path(task.root), socket.gethostname()
    if not _is_there(Path(task.alive)):
        return (
            f"a worker on {host} does not see what this command wrote into {Path(task.alive).parent}: the project's "
            "folder must lie on storage that all machines share, at the same path"
        )
    if code_at_start(root)["code"] != task.code:
        return f"the code in {root}/harness, as a worker on {host} reads it, is not this command's; run it again"
    logging.getLogger("harness.data").setLevel(logging.ERROR)  # the program has said what is left out
    try:
        _register(root, task.design.trials_of or task.specs[0].experiment)
    except HarnessError as error:
        return f"on {host}: {error}"
    return ""


@functools.cache
def _register(root: Path, experiment: str) -> None:
    """An experiment's file may register models of its own."""
    if experiment in catalog.names(root):
        catalog.load(experiment, root)


@functools.lru_cache(maxsize=1)
def _data(root: Path, data: str, device: str) -> DeviceData:
    """The data set of the last piece of work, kept for the next."""
    return device_data(load(Data.model_validate_json(data), root), device)
