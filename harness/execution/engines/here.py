"""An engine that does the work in this process, one task after the other."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from harness.execution.engines.engine import Function
from harness.execution.engines.task import Local


class Here:
    """Runs tasks in this process: they display every step and share the loaded data."""

    name, room = "this process", 1

    def __init__(self, local: Local):
        self._local = local

    def submit(self, function: Callable[..., str] | Function, payload: str) -> "Future[str]":
        """Do the work immediately; its exceptions propagate to the caller."""
        future: Future[str] = Future()
        future.set_result(partial(function, local=self._local)(payload))
        return future

    def poll(self, seconds: float) -> None:
        """Do nothing: no task is ever pending."""

    def close(self) -> None:
        """Do nothing: there are no workers."""
