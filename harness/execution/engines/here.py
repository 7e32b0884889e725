"""One piece of work after the other, in this process."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from harness.execution.engines.engine import Function
from harness.execution.engines.task import Local


class Here:
    """Its work shows every step and shares what this process has loaded."""

    name, room = "this process", 1

    def __init__(self, local: Local):
        self._local = local

    def submit(self, function: Callable[..., str] | Function, payload: str) -> "Future[str]":
        """Does the work at once; what it raises is raised here."""
        future: Future[str] = Future()
        future.set_result(partial(function, local=self._local)(payload))
        return future

    def poll(self, seconds: float) -> None:
        """Nothing is ever under way."""

    def close(self) -> None:
        """There is no worker."""
