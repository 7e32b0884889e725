"""How long a command takes to answer, and a run to take its first step: new processes, in a copy of the project."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path

_STEPS = re.compile(rb"\] batch:.*?/\d+ \[")  # the bar, which is drawn when the first step is done
_LIMIT_SECONDS = 600.0


def copy_project(root: Path, folder: Path) -> Path:
    """The code alone, so that a store and journals of its own appear beside it."""
    project = folder / "project"
    for part in ("harness", "models", "experiments"):
        shutil.copytree(root / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    return project


def answer_seconds(project: Path, *arguments: str) -> float:
    """From starting `python -m harness …` to its end."""
    clock = time.perf_counter()
    command = [sys.executable, "-m", "harness", *arguments]
    subprocess.run(command, cwd=project, env=_environment(), check=True, capture_output=True)
    return time.perf_counter() - clock


def first_step_seconds(project: Path) -> float:
    """From starting `python -m harness run quickstart` to its first training step, which a terminal shows.

    Raises:
        RuntimeError: it ended without a step, or was silent for ten minutes.
    """
    shown, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (25, 120))  # a bar without a width is not drawn
    clock = time.perf_counter()
    command = [sys.executable, "-m", "harness", "run", "quickstart"]
    process = subprocess.Popen(command, cwd=project, env=_environment(), stdout=terminal, stderr=terminal)
    os.close(terminal)
    try:
        text = b""
        while not _STEPS.search(text):
            waited = select.select([shown], [], [], _LIMIT_SECONDS)[0]
            try:
                more = os.read(shown, 65536) if waited else b""
            except OSError:  # how Linux says that nobody writes to the terminal any more
                more = b""
            if not more:
                raise RuntimeError(f"no step was seen: {text.decode(errors='replace')[-500:]}")
            text += more
        return time.perf_counter() - clock
    finally:
        process.kill()
        process.wait()
        os.close(shown)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
