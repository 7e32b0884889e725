"""Handle Ctrl-C, SIGTERM and SIGHUP by setting a flag, so that training can save a checkpoint before it stops."""

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
"""The active `Stop` objects, nested: a signal sets all of them."""


@dataclass(eq=False)
class Stop:
    """True once a signal has asked the process to end; a second signal ends it at once."""

    signal: int | None = None
    quiet: bool = False
    """Print nothing, as in a worker."""

    def __call__(self) -> bool:
        return self.signal is not None

    @contextmanager
    def listening(self, *more: int) -> Iterator[None]:
        """Context that handles these signals and those in `more`; ignored ones (SIGHUP under nohup) stay ignored."""

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
