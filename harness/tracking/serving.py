"""Run MLflow's server as a child process that ends when this process is asked to end."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # otherwise seven more processes, which run code named in API calls
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "",
}


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
            [sys.executable, "-m", "mlflow", "server", *options],
            env={**os.environ, **settings, **_SETTINGS},
            start_new_session=True,
        )
        return asked[0] if asked else server.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if server:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
