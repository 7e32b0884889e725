"""An engine of worker processes on this machine, reused and replaced when they die; they end when the program ends."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

from harness.execution.engines.engine import Function, Lost

PRELOAD = ("harness.execution.engines.task", "torch._dynamo", "sklearn.datasets")
"""Imported once for all workers, because each import takes seconds; the first optimizer needs the second, digits the
third."""

_ENDING_SECONDS = 5.0
"""Time for a worker to exit after its pipe was closed, which releases its named semaphores (tqdm makes some)."""


def prepare() -> None:
    """Start the fork server now, so that it imports what workers need while this process imports what it needs itself.

    Without effect where workers are spawned (see `_context`).
    """
    context = _context(gpus=len(list(Path("/dev").glob("nvidia[0-9]*"))), preload=PRELOAD)  # torch is not imported yet
    if isinstance(context, ForkServerContext):
        with _without_ctrl_c():
            forkserver.ensure_running()


class Processes:
    """A fixed number of worker processes; one that dies is replaced when there is work for it.

    Args:
        jobs: number of workers.
        gpus: number of GPUs of the machine; each worker sees one of them, assigned in turn.
        preload: modules that are imported once, before the first worker is forked.
    """

    name = "worker processes"

    def __init__(self, jobs: int, gpus: int = 0, preload: Sequence[str] = PRELOAD):
        self.room, self._gpus, self._context = jobs, gpus, _context(gpus, preload)
        self._workers: list[_Worker | None] = [None] * jobs

    def submit(self, function: Function, payload: str) -> "Future[str]":
        idle = next(n for n, worker in enumerate(self._workers) if worker is None or worker.future is None)
        worker, future = self._workers[idle], Future[str]()
        if worker is None or not worker.takes(function, payload, future):  # it died while idle
            worker = self._workers[idle] = _Worker(self._context, idle % self._gpus if self._gpus else None)
            if not worker.takes(function, payload, future):
                future.set_exception(Lost("a worker process died before it began"))
        return future

    def poll(self, seconds: float) -> None:
        busy = {worker.pipe: worker for worker in self._workers if worker and worker.future}
        for pipe in multiprocessing.connection.wait(list(busy), seconds):
            busy[pipe].receive()  # pyright: ignore[reportArgumentType] these are the connections that went in

    def close(self) -> None:
        """End the workers: idle ones exit by themselves and release their semaphores; busy ones are killed."""
        workers = [worker for worker in self._workers if worker]
        for worker in workers:
            if worker.future:
                worker.process.kill()
            worker.pipe.close()  # an idle worker exits at the end of its pipe
        until = time.monotonic() + _ENDING_SECONDS
        for worker in workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            worker.process.kill()
            worker.process.join()
        self._workers = [None] * self.room


class _Worker:
    """A process, the pipe to it, and the future of its current task, if any."""

    def __init__(self, context: SpawnContext | ForkServerContext, gpu: int | None):
        self.future: Future[str] | None = None
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, gpu))
        with _without_ctrl_c():
            self.process.start()
        theirs.close()  # so that the pipe closes when the process ends

    def takes(self, function: Function, payload: str, future: "Future[str]") -> bool:
        """Send it a task; False if the process has ended."""
        try:
            self.pipe.send((function, payload))
        except OSError:
            return False
        self.future = future
        return True

    def receive(self) -> None:
        """Take a result or an error from the pipe; a closed pipe means that the process has ended."""
        try:
            self.finish(self.pipe.recv())
        except (EOFError, OSError):
            self.process.join(_ENDING_SECONDS)
            self.process.kill()
            self.process.join()
            self.finish(Lost(_ended(self.process.exitcode or 0)))

    def finish(self, what: str | Exception) -> None:
        future, self.future = self.future, None
        assert future is not None
        if isinstance(what, str):
            future.set_result(what)
        else:
            future.set_exception(what)


def _context(gpus: int, preload: Sequence[str]) -> SpawnContext | ForkServerContext:
    """How workers are started.

    Forking a process whose torch threads have run can deadlock, and its children cannot use CUDA. The fork server runs
    no threads of torch: it imports the modules once; workers are forked from it in a fraction of a second and share its
    memory. With GPUs, and on systems other than Linux, whose libraries may not survive a fork, workers are spawned.
    """
    if gpus or sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes started in this context inherit that SIGINT is blocked: no Ctrl-C ends them during their imports."""
    resource_tracker.ensure_running()  # multiprocessing would start it with the first process, and unblock SIGINT then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "a worker process was killed, perhaps for want of memory"
    how = f"signal {-code}" if code < 0 else f"status {code}"
    return f"a worker process ended with {how}"


def _work(pipe: Connection, gpu: int | None) -> None:
    """The worker's main function: execute tasks from the pipe one after the other until the program ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal: the program stops its workers itself
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    threading.Thread(target=_end_with_the_program, daemon=True).start()
    while True:
        try:
            function, payload = pipe.recv()
        except EOFError:
            return
        try:
            answer: str | Exception = function(payload)
        except Exception as error:  # sent back and raised in the program
            answer = error
        pipe.send(answer)


def _end_with_the_program() -> None:
    program = multiprocessing.parent_process()
    assert program is not None
    multiprocessing.connection.wait([program.sentinel])
    os._exit(1)
