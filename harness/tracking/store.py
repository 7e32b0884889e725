"""Opening an MLflow store without its traps: settings, a health check, a first use that cannot be half-done, the UI.

The measured traps: a server that is down blocks for minutes; a request sent again by itself makes two runs; a fresh
SQLite file that several processes open at once is left half-migrated for ever; telemetry and pickle loading are on by
default; the UI answers to any host name.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from harness.tracking import database
from harness.tracking.address import (
    HURRIED_SECONDS,
    TrackingError,
    Unreachable,
    is_server,
    require_address,
    require_health,
    require_port,
    with_driver,
)
from harness.tracking.origin import Origin, origin_of
from harness.tracking.serving import serve
from harness.values import first_line

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
_SECONDS = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_LOCK_SECONDS = 600
"""Many may wait for a fresh store to be made."""
_PATIENCE_SECONDS = 10.0
"""For another process's lock on a SQLite file, where no run waits."""
_NOT_NOW = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN")
"""What may be otherwise soon, without another address: locked, not readable, no room."""


class Store:
    """A tracking store. It need not answer when this is made, see `require_answer`; a database is opened when it is
    first needed."""

    def __init__(self, root: Path, uri: str):
        self.root, self.uri = root, uri
        self.file = database.file_of(uri)
        """Of a SQLite store."""
        self._client: MlflowClient | None = None

    @property
    def client(self) -> "MlflowClient":
        """MLflow's own.

        Raises:
            TrackingError: a database that cannot be opened; Unreachable if it may be another time.
        """
        if self._client is None:
            self._client = self._open()
        return self._client

    def lock(self) -> FileLock:
        """Held while something is made in the store that must be made once: beside a SQLite file, one lock for all
        projects that share the file; for a server, whose callers may be anywhere, the project's.

        Raises:
            OSError: the file's folder cannot be made.
        """
        if self.file is None:
            return self.project_lock()
        file = self.file.resolve()
        file.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(file.parent, os.W_OK):  # nothing can be made there: it is only read
            return self.project_lock()
        return FileLock(file.with_name(f"{file.name}.lock"), timeout=_LOCK_SECONDS)

    def project_lock(self) -> FileLock:
        """Held while something is made in the project's own folder that must be made once."""
        (self.root / "runs").mkdir(exist_ok=True)
        return FileLock(self.root / "runs" / "tracking.lock", timeout=_LOCK_SECONDS)

    @property
    def is_own(self) -> bool:
        """Whether it is the project's own file, in which no other project records unless it is told to."""
        return self.file == self.root / "mlflow.db"

    @cached_property
    def origin(self) -> Origin:
        """What identifies the project."""
        with self.project_lock():
            return origin_of(self.root, self.is_own)

    def owns(self, tags: Mapping[str, str]) -> bool:
        """Whether a run with these tags is this project's, to be replaced or deleted by it; see `Origin`. One without a
        name, as recorded before there were names, is the store's own project's."""
        name = tags.get("origin")
        return name == self.origin.name or (self.is_own and (name is None or name in self.origin.before))

    def artifact_location(self, experiment: str) -> str | None:
        """Where an experiment's artifacts go; a server knows its own place."""
        return None if is_server(self.uri) else f"{(self.root / 'mlartifacts').as_uri()}/{experiment}"

    def require_answer(self) -> None:
        """Ask a server whether it is well, a database that could not be opened again; MLflow would only wait.

        Raises:
            Unreachable: it does not say so within a second.
            TrackingError: the database cannot be opened.
        """
        if is_server(self.uri):
            require_health(self.uri)
        else:
            _ = self.client

    def _open(self) -> "MlflowClient":
        from mlflow.exceptions import MlflowException
        from mlflow.store.tracking import sqlalchemy_store  # noqa: F401 slow: others wait for the lock
        from mlflow.tracking import MlflowClient
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import SQLAlchemyError

        if is_server(self.uri):
            return MlflowClient(tracking_uri=self.uri)
        _quieten()
        try:
            with self.lock():
                if self.file:
                    database.prepare(self.file, _patience())
                else:
                    make_url(with_driver(self.uri)).get_dialect().import_dbapi()
                    require_port(self.uri)
                client = MlflowClient(tracking_uri=with_driver(self.uri))
                client.search_experiments(max_results=1)  # MLflow opens a database only now
                if self.file and self.is_own:
                    database.follow(self.file, self.root, _patience())
                return client
        except (MlflowException, SQLAlchemyError, sqlite3.Error, ImportError, ValueError, OSError) as error:
            if isinstance(error, TrackingError):
                raise
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> TrackingError:
        problem = " ".join(f"the tracking store {self.uri!r} cannot be opened: {first_line(error)}".split())
        if self.file and not self.file.is_dir() and _may_pass(error):
            return Unreachable(problem)
        if isinstance(error, ImportError) and self.uri.startswith("postgresql"):
            cure = "make extras installs its driver"
        elif self.is_own and not isinstance(error, OSError):
            cure = "to make it anew from runs/, move mlflow.db elsewhere, then: make sync"
        elif self.is_own:
            cure = "make the project's folder writable, with room on its disk, and run again"
        else:
            cure = "mend it, or unset MLFLOW_TRACKING_URI to record in mlflow.db"
        return TrackingError(f"{problem}; {cure}")


def settle() -> None:
    """Give MLflow its settings, but for those that the user has set; to be called before it is imported."""
    os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})


def connect(root: Path, uri: str | None = None) -> Store:
    """Open the store at `uri`, else at MLFLOW_TRACKING_URI, else `mlflow.db` in the project's folder.

    A server is not asked yet, and a database that is locked, not readable or down now is opened when it answers: runs
    can be made without it.

    Raises:
        TrackingError: the database cannot be opened, now or later, or the address is none.
    """
    settle()
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or local_uri(root)
    require_address(uri)
    opened = Store(root, uri)
    with suppress(Unreachable):
        _ = opened.client
    return opened


@contextmanager
def hurried() -> Iterator[None]:
    """A request in this block is given up after a second, for a run waits; a time that the user has set stays."""
    if os.environ.get(_SECONDS) != SETTINGS[_SECONDS]:
        yield
        return
    os.environ[_SECONDS] = str(HURRIED_SECONDS)
    try:
        yield
    finally:
        os.environ[_SECONDS] = SETTINGS[_SECONDS]


def local_uri(root: Path) -> str:
    """The store that needs no server."""
    return database.uri_of(root / "mlflow.db")


def serve_ui(root: Path, port: int) -> int:
    """MLflow's own pages over the local store, on 127.0.0.1 only, answering to no other host name; until Ctrl-C.

    However this process is asked to end, the server and its workers end too.
    """
    connect(root, local_uri(root))
    hosts = f"127.0.0.1:{port},localhost:{port}"
    print(f"MLflow at http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    options = ["--backend-store-uri", local_uri(root), "--workers", "1", "--host", "127.0.0.1"]
    return serve([*options, "--port", str(port), "--allowed-hosts", hosts], SETTINGS)


def _quieten() -> None:
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs a traceback of what it raises


def _patience() -> float:
    return HURRIED_SECONDS if os.environ.get(_SECONDS) == str(HURRIED_SECONDS) else _PATIENCE_SECONDS


def _may_pass(error: BaseException | None) -> bool:
    """Whether SQLite's own reason, however deep MLflow has wrapped it, or a lack of permission or room may pass."""
    while error is not None:
        if isinstance(error, PermissionError) or getattr(error, "sqlite_errorname", "").startswith(_NOT_NOW):
            return True
        error = getattr(error, "orig", None) or error.__cause__
    return False
