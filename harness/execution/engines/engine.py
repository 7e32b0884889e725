"""The interface of all engines, modelled on `concurrent.futures`: submit work as JSON, and get a Future for its end.

Results are not returned but written to the runs' journals. Work can therefore be submitted again whatever happened to
it before; runs that are complete are not made twice.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

Function = Callable[[str], str]
"""An importable function from JSON text to JSON text."""


class Lost(Exception):
    """A worker ended before its work did: it was killed, ran out of memory, or reached a time limit."""


class Engine(Protocol):
    """Executes work in this process, in other processes or on other machines."""

    name: str
    """For messages."""
    room: int
    """Maximum number of tasks at the same time; the caller keeps the others until there is room."""

    def submit(self, function: Function, payload: str) -> "Future[str]":
        """Start `function(payload)`. The future raises `Lost` if the worker ends before the function returns.

        Raises:
            HarnessError: the work can never start as requested.
        """
        ...

    def poll(self, seconds: float) -> None:
        """Update the futures; returns once any is done, at the latest after `seconds`."""
        ...

    def close(self) -> None:
        """Terminate all workers, even busy ones."""
        ...
