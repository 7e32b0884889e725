"""An engine of worker processes on this machine, started by spawn and reused; they end when the program ends."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from concurrent.futures import Future
from multiprocessing.connection import Connection

from harness.execution.engines.engine import Function, Lost

_SPAWN = multiprocessing.get_context("spawn")
"""Spawn, because forking a process whose torch threads have run can deadlock, and its children cannot use CUDA."""

_ENDING_SECONDS = 5.0
"""Time allowed for a worker to exit after its pipe was closed."""

_LEAVING_SECONDS = 3.0
"""Time for idle workers to exit by themselves, which releases their named semaphores (tqdm makes some)."""


class Processes:
    """A fixed number of worker processes; one that dies is replaced when there is work for it.

    Args:
        jobs: number of workers.
        gpus: number of GPUs of the machine; each worker sees one of them, assigned in turn.
    """

    name = "worker processes"

    def __init__(self, jobs: int, gpus: int = 0):
        self.room, self._gpus = jobs, gpus
        self._workers: list[_Worker | None] = [None] * jobs

    def submit(self, function: Function, payload: str) -> "Future[str]":
        idle = next(n for n, worker in enumerate(self._workers) if worker is None or worker.future is None)
        worker = self._workers[idle]
        if worker is None or not worker.process.is_alive():
            worker = self._workers[idle] = _Worker(idle % self._gpus if self._gpus else None)
        worker.future = future = Future[str]()
        try:
            worker.pipe.send((function, payload))
        except OSError:  # the worker has just died
            worker.finish(Lost("a worker process died before it began"))
            self._workers[idle] = None
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
        until = time.monotonic() + _LEAVING_SECONDS
        for worker in workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            worker.process.kill()
            worker.process.join()
        self._workers = [None] * self.room


class _Worker:
    """A process, the pipe to it, and the future of its current task, if any."""

    def __init__(self, gpu: int | None):
        self.future: Future[str] | None = None
        self.pipe, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_work, args=(theirs, gpu))
        self.process.start()
        theirs.close()  # so that the pipe closes when the process ends

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
