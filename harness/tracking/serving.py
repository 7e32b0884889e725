"""Run MLflow's server as a child process that ends when this process ends, however that happens."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # otherwise seven more processes, which run code named in API calls
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "",
}
_KEEPER = """
import os, signal, subprocess, sys, threading, time

signal.signal(signal.SIGTERM, lambda *_: None)
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
gone = threading.Event()

def end_with_the_program():
    os.read(0, 1)
    gone.set()
    os.killpg(0, signal.SIGTERM)
    time.sleep(5)
    os.killpg(0, signal.SIGKILL)

watching = threading.Thread(target=end_with_the_program, daemon=True)
watching.start()
status = server.wait()
if gone.is_set():
    watching.join()
os._exit(status if status >= 0 else 128 - status)
"""
"""Starts MLflow's server and ends all of its processes when the pipe from this process closes, which also happens when
this process is killed. Without it MLflow's processes would go on and keep the port. Those that do not end are killed
after five seconds."""


def serve(options: Sequence[str], settings: Mapping[str, str]) -> int:
    """Run `mlflow server` with these options until it ends or this process is asked to end; returns the exit status.

    Args:
        settings: environment variables; secrets are passed here, since other users can see command-line options.
    """
    server: subprocess.Popen[bytes] | None = None
    asked: list[int] = []

    def end(number: int, _: object) -> None:
        asked.append(128 + number)
        if server:  # not while it is being started, when an exception would lose it
            raise SystemExit(asked[0])

    signals = [number for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in signals}
    try:
        server = subprocess.Popen(
            [sys.executable, "-c", _KEEPER, sys.executable, "-m", "mlflow", "server", *options],
            env={**os.environ, **settings, **_SETTINGS},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        return asked[0] if asked else server.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if server and server.stdin:
            server.stdin.close()
