"""Attempts at a run by the hundred: one process imports the product once and forks for each of them.

`Launcher` is the asking side. `python -m tests.chaos.attempts` is the other: a request a line on stdin, an answer a
line on stdout, and for each a child that is the product's command line in a project's folder of its own. What must be
different for that (the root, the checkpoint interval, a signal at a named point, a disk that fails) is changed in the
child; nothing in the product knows of it.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 900.0
"""An attempt that takes longer hangs, and is ended."""
UNDRAWN = "--undrawn"


@dataclass(frozen=True)
class Broken:
    """A disk that fails: the `nth` write, fsync or rename (from 1) below a path, with `error`, or `stays` failing."""

    below: str
    nth: int
    error: int = 0
    stays: bool = False


@dataclass(frozen=True)
class Request:
    """One attempt in `folder`; no `command` only makes the store."""

    folder: str
    command: tuple[str, ...] = ("run", "chaos")
    checkpoint_seconds: float = -1.0
    """Time between checkpoints; -1 saves one after every step and event."""
    point: str = ""
    """Where the process sends itself `signal`; see `points`."""
    signal: int = 0
    kill_after: float = 0.0
    """Seconds after which SIGKILL comes from outside; 0: never."""
    broken: Broken | None = None
    learn: bool = False
    """Import here, for all that follow, what this attempt imported late."""


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended. `status` is as subprocess has it: -9 was killed."""

    status: int
    seconds: float
    stopping_seconds: float | None
    """From the signal at the named point to the end; None: the point was not reached."""
    stdout: str
    stderr: str
    operations: int
    """Writes, fsyncs and renames below `Broken.below`."""


class Launcher:
    """Starts attempts, one at a time; a context manager.

    Args:
        shim: a library to load first; see `disk`.
        draw: whether figures are drawn, which takes longer than the run itself; if not, their files are written
            all the same.
    """

    def __init__(self, shim: Path | None = None, draw: bool = True):
        environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        if shim:
            environment["LD_PRELOAD"] = str(shim)
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        command = [sys.executable, "-m", "tests.chaos.attempts", *([] if draw else [UNDRAWN])]
        self._server = subprocess.Popen(command, env=environment, text=True, **pipes)

    def __enter__(self) -> "Launcher":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()  # closes its stdin: it ends

    def __call__(self, folder: Path, **request: Any) -> Attempt:
        """One attempt, to its end, whichever that is."""
        assert self._server.stdin
        assert self._server.stdout
        for name in ("hit", "operations"):
            (folder / name).unlink(missing_ok=True)
        self._server.stdin.write(json.dumps(asdict(Request(str(folder), **request))) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        hit, operations = folder / "hit", folder / "operations"
        return Attempt(
            status=answer["status"],
            seconds=answer["ended"] - answer["began"],
            stopping_seconds=answer["ended"] - float(hit.read_text()) if hit.exists() else None,
            stdout=_text(folder / "stdout"),
            stderr=_text(folder / "stderr"),
            operations=int(operations.read_text()) if operations.exists() else 0,
        )


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""  # killed before it could open it


def serve() -> None:
    """Answer requests until stdin ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        broken = Broken(**asked.pop("broken")) if asked["broken"] else asked.pop("broken")
        request = Request(**asked, broken=broken)
        gc.freeze()  # what was imported here is not searched again as each child ends: that took longer than its run
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            sys.exit(_attempt(request))
        status = _wait(child, began, request.kill_after or LIMIT_SECONDS)
        print(json.dumps({"status": status, "began": began, "ended": time.monotonic()}), flush=True)
        if request.learn:
            for name in json.loads(Path(request.folder, "modules").read_text()):
                with contextlib.suppress(Exception):  # not all that is in sys.modules has its name
                    importlib.import_module(name)


def _wait(child: int, began: float, limit: float) -> int:
    """The child's status; killed once `limit` seconds are over. Only its parent can kill it and surely hit no other."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - began > limit:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)


def _attempt(request: Request) -> int:
    """In the child: the product's command line, changed as the request says."""
    import harness.__main__ as command_line
    import harness.execution.run
    from harness.tracking.store import connect
    from tests.chaos import ending, points

    folder = Path(request.folder)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, "stdout", os.O_WRONLY), (2, "stderr", os.O_WRONLY)):
        os.dup2(os.open(name, flags | os.O_CREAT | (os.O_TRUNC if number else 0), 0o644), number)
    command_line.ROOT = folder
    harness.execution.run.CHECKPOINT_SECONDS = request.checkpoint_seconds
    ending.record(folder)
    if request.point:
        points.POINTS[request.point](lambda: _signal_itself(folder, request.signal))
    shim = ctypes.CDLL(None)
    if request.broken:
        broken = request.broken
        shim.chaos_arm(broken.below.encode(), broken.nth, broken.error, broken.stays)
    try:
        if not request.command:
            connect(folder)
            return 0
        return command_line.main(request.command)
    finally:
        if request.broken:
            (folder / "operations").write_text(str(shim.chaos_disarm()))
        (folder / "modules").write_text(json.dumps(sorted(sys.modules)))


def _signal_itself(folder: Path, number: int) -> None:
    (folder / "hit").write_text(str(time.monotonic()))
    os.kill(os.getpid(), number)


def _save_undrawn(_: object, path: Path) -> None:
    path.write_bytes(b"a figure")


if __name__ == "__main__":
    from harness import __main__  # noqa: F401 — these are for the children
    from harness.artifacts import figures
    from harness.execution import execute  # noqa: F401 — as above
    from tests.chaos import ending, points  # noqa: F401 — as above

    if UNDRAWN in sys.argv:
        figures.save = _save_undrawn
    serve()
