"""Ctrl-C, SIGTERM and a terminal that closes: noted, so that the work under way can save a checkpoint."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from tqdm import tqdm

_STOPPING = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


_LISTENING: list["Stop"] = []
"""One within another: what the inner one hears, the outer one knows too."""


@dataclass(eq=False)
class Stop:
    """Set by the first signal that asks the process to end; a second one ends it at once."""

    signal: int | None = None
    quiet: bool = False
    """Says nothing, as in a worker."""

    def __call__(self) -> bool:
        return self.signal is not None

    @contextmanager
    def listening(self, *more: int) -> Iterator[None]:
        """Take over these signals for the duration, and `more`; one that is ignored (under nohup, SIGHUP) stays so."""

        def note(number: int, frame: FrameType | None) -> None:
            if self.signal is not None:
                os._exit(128 + number)
            for each in _LISTENING:
                each.signal = number
            if not self.quiet:
                tqdm.write("stopping at the next step; once more ends it at once", file=sys.stderr)

        numbers = [number for number in (*_STOPPING, *more) if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, note) for number in numbers}
        _LISTENING.append(self)
        try:
            yield
        finally:
            _LISTENING.remove(self)
            for number, handler in before.items():
                signal.signal(number, handler)
