"""Opening an MLflow store without its traps: settings, a health check, a first use that cannot be half-done, the UI.

The measured traps: a server that is down blocks for minutes; a request sent again by itself makes two runs; a fresh
SQLite file that several processes open at once is left half-migrated for ever; telemetry and pickle loading are on by
default; the UI answers to any host name.
"""

import http.client
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from harness.values import HarnessError, first_line

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_UI_SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # else seven more processes, which run what an API call names
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "",
}
_SECONDS = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_HURRIED_SECONDS = 1


class TrackingError(HarnessError):
    """The tracking store cannot be used."""


class Unreachable(TrackingError):
    """The tracking server does not answer now; it may later."""


@dataclass(frozen=True)
class Store:
    """An open store; a server need not be up, see `require_answer`."""

    client: "MlflowClient"
    uri: str
    root: Path
    artifact_root: str | None
    """Where the local store keeps artifacts; a server knows its own place."""

    def lock(self) -> FileLock:
        """Held while something is made that must be made once."""
        return _lock(self.root)

    def artifact_location(self, experiment: str) -> str | None:
        return f"{self.artifact_root}/{experiment}" if self.artifact_root else None

    def require_answer(self) -> None:
        """Ask a server whether it is well; MLflow's own client would find out only by waiting.

        Raises:
            Unreachable: it does not say so within a second.
        """
        if _is_server(self.uri):
            _require_health(self.uri)


def connect(root: Path, uri: str | None = None) -> Store:
    """Open the store at `uri`, else at MLFLOW_TRACKING_URI, else `mlflow.db` in the project's folder.

    Raises:
        TrackingError: the database cannot be opened, or the address is none.
    """
    os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or local_uri(root)
    if _is_server(uri):
        _require_address(uri)
    elif not uri.startswith(("sqlite:///", "postgresql", "mysql", "mssql")):
        raise TrackingError(
            f"`MLFLOW_TRACKING_URI` must be a database or a server (sqlite:///…, http://…); got {uri!r}"
        )
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking import sqlalchemy_store  # noqa: F401 slow: others wait for the lock
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs a traceback of what it raises
    try:
        with _lock(root):
            if uri.startswith("sqlite:"):
                _require_sqlite(Path(uri.removeprefix("sqlite:///").partition("?")[0]))
            client = MlflowClient(tracking_uri=uri)
            if not _is_server(uri):
                client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, sqlite3.Error, ImportError, OSError) as error:
        raise TrackingError(
            f"the tracking store {uri!r} cannot be opened: {first_line(error)}; mend it, or unset MLFLOW_TRACKING_URI "
            "to record in mlflow.db"
        ) from error
    return Store(client, uri, root, (root / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None)


@contextmanager
def hurried() -> Iterator[None]:
    """A request in this block is given up after a second, for a run waits; a time that the user has set stays."""
    if os.environ.get(_SECONDS) != SETTINGS[_SECONDS]:
        yield
        return
    os.environ[_SECONDS] = str(_HURRIED_SECONDS)
    try:
        yield
    finally:
        os.environ[_SECONDS] = SETTINGS[_SECONDS]


def local_uri(root: Path) -> str:
    """The store that needs no server."""
    return f"sqlite:///{root / 'mlflow.db'}"


def serve_ui(root: Path, port: int) -> int:
    """MLflow's own pages over the local store, on 127.0.0.1 only, answering to no other host name; until Ctrl-C.

    However this process is asked to end, the server and its workers end too.
    """
    connect(root, local_uri(root))
    hosts = f"127.0.0.1:{port},localhost:{port}"
    print(f"MLflow at http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", local_uri(root), "--workers", "1"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--allowed-hosts", hosts]
    server: subprocess.Popen[bytes] | None = None
    asked: list[int] = []

    def end(number: int, _: object) -> None:
        asked.append(128 + number)
        if server:  # while it is being started its exception would lose it
            raise SystemExit(asked[0])

    signals = [number for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in signals}
    try:
        server = subprocess.Popen(
            [*command, *options], env=os.environ | SETTINGS | _UI_SETTINGS, start_new_session=True
        )
        return asked[0] if asked else server.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if server:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)


def _lock(root: Path) -> FileLock:
    (root / "runs").mkdir(exist_ok=True)
    return FileLock(root / "runs" / "tracking.lock", timeout=600)  # many may wait for a fresh store to be made


def _require_sqlite(path: Path) -> None:
    """Raises what is wrong with the file at once: MLflow would try for 100 seconds, and then show a traceback."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=60)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master")


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _require_address(uri: str) -> None:
    if "@" in uri.partition("?")[0]:  # not shown, for it may hold a password
        raise TrackingError(
            "`MLFLOW_TRACKING_URI` must not hold a user or password; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD for them"
        )
    try:
        parts = urllib.parse.urlsplit(uri)
        right = bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise TrackingError(f"`MLFLOW_TRACKING_URI` must be a server's address, as http://127.0.0.1:5000; got {uri!r}")


def _require_health(uri: str) -> None:
    try:
        with urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=_HURRIED_SECONDS) as answer:
            if answer.status == 200:
                return
            problem = f"it answered {answer.status}"
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        problem = " ".join(str(getattr(error, "reason", error)).split())
    raise Unreachable(f"the tracking server {uri!r} does not answer ({problem})")
