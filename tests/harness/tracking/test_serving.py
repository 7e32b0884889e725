"""MLflow's server and all its processes end when the program does, whatever ends that."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).resolve().parents[3]
_SERVER = """
import os, pathlib, signal, subprocess, sys, time

if sys.argv[2:] == ["--worker"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as one that waits for its last request
    pathlib.Path(os.environ["SAID"], "worker").write_text(str(os.getpid()))
    time.sleep(600)
elif sys.argv[2:] == ["--fail"]:
    sys.exit(3)
else:
    pathlib.Path(os.environ["SAID"], "server").write_text(str(os.getpid()))
    subprocess.run([sys.executable, "-m", "mlflow", "server", "--worker"])
"""
"""In the place of MLflow: a server, and a worker of its own that does not end at SIGTERM."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """In which `python -m mlflow` is that server."""
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").touch()
    (tmp_path / "mlflow" / "__main__.py").write_text(_SERVER)
    return os.environ | {"PYTHONPATH": f"{tmp_path}:{PROJECT}", "SAID": str(tmp_path)}


def program(environment: dict[str, str], *options: str) -> "subprocess.Popen[bytes]":
    code = f"import sys\nfrom harness.tracking.serving import serve\nsys.exit(serve({list(options)!r}, {{}}))"
    return subprocess.Popen([sys.executable, "-c", code], env=environment)


Running = tuple["subprocess.Popen[bytes]", list[psutil.Process]]


@pytest.fixture
def running(environment: dict[str, str], tmp_path: Path) -> Iterator[dict[signal.Signals, Running]]:
    """For each signal a program, and its server's two processes; all at once, as each takes seconds to end."""
    began, limit = dict[signal.Signals, Running](), time.monotonic() + 60
    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        folder = tmp_path / how.name
        folder.mkdir()
        started = program(environment | {"SAID": str(folder)})
        files = [folder / "server", folder / "worker"]
        while not all(file.exists() and file.read_text() for file in files):
            assert time.monotonic() < limit
            time.sleep(0.02)
        began[how] = started, [psutil.Process(int(file.read_text())) for file in files]
    yield began
    for process in (each for _, processes in began.values() for each in processes):
        if process.is_running():
            process.kill()


def test_all_of_it_ends_with_the_program(running: dict[signal.Signals, Running]) -> None:
    """By SIGKILL, which leaves it no time to say so, as by what asks it to end; a worker that hangs too."""
    for how, (began, _) in running.items():
        began.send_signal(how)
    for how, (began, processes) in running.items():
        assert began.wait(10) == (-how if how == signal.SIGKILL else 128 + how)
        gone, alive = psutil.wait_procs(processes, timeout=20)
        assert (len(gone), alive) == (2, [])


def test_a_server_that_ends_by_itself_ends_the_program(environment: dict[str, str]) -> None:
    """With its exit status."""
    assert program(environment, "--fail").wait(30) == 3
