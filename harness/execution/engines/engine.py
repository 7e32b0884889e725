"""What every engine offers, in the shape of `concurrent.futures`: work goes in as text, a Future says when it is over.

Results are never in what comes back: they are in the runs' journals. So work may be handed in again whatever became of
it before; what is made already is not made twice.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

Function = Callable[[str], str]
"""An importable function of JSON to JSON."""


class Lost(Exception):
    """A worker ended before its work did: it was killed, ran out of memory, reached a limit of time."""


class Engine(Protocol):
    """Makes work where it belongs."""

    name: str
    """For messages."""
    room: int
    """How much work may be under way at once; what waits beyond that stays with whoever hands it in."""

    def submit(self, function: Function, payload: str) -> "Future[str]":
        """Begin `function(payload)`. The future fails with `Lost` where that was cut off.

        Raises:
            HarnessError: it can never begin as asked.
        """
        ...

    def poll(self, seconds: float) -> None:
        """Bring futures up to date; returns once any is done, after so many seconds at the latest."""
        ...

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        ...
