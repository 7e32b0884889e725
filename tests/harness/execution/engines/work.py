"""Functions that workers import: small ones, so that starting a worker is all that a test waits for."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

_SHARED: list[object] = []


def who(payload: str) -> str:
    """The process that does it."""
    return f"{payload} {os.getpid()}"


def has_imported(module: str) -> str:
    """With the number of the process that the worker comes from."""
    return f"{module in sys.modules} {os.getppid()}"


def die(payload: str) -> str:
    """Killed, as by a system without memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return payload


def fail(payload: str) -> str:
    raise ValueError(payload)


def share(payload: str) -> str:
    """Keeps a semaphore that other processes could use, as tqdm does."""
    _SHARED.append(multiprocessing.Lock())
    return payload


def wait_for_ever(path: str) -> str:
    """Says in a file which process it is."""
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(1)
