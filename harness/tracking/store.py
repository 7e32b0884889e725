"""Open an MLflow store safely: settings, a health check, atomic creation of the SQLite file, and the UI.

Problems that are avoided here: a server that is down blocks for minutes; an automatically repeated request creates two
runs; a new SQLite file opened by several processes at once stays half-migrated; telemetry and pickle loading are on by
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
"""Timeout of the lock; many processes may wait while a new store is created."""
_PATIENCE_SECONDS = 10.0
"""Time to wait for another process's lock on a SQLite file while no run is waiting."""
_NOT_NOW = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN")
"""SQLite errors that may be temporary: locked, not readable, no space left."""


class Store:
    """A tracking store. It is contacted only when needed, so creating this object works even if it does not answer."""

    def __init__(self, root: Path, uri: str):
        self.root, self.uri = root, uri
        self.file = database.file_of(uri)
        """The file of a SQLite store; None for other stores."""
        self._client: MlflowClient | None = None

    @property
    def client(self) -> "MlflowClient":
        """MLflow's client for this store.

        Raises:
            TrackingError: the database cannot be opened; `Unreachable` if the problem may be temporary.
        """
        if self._client is None:
            self._client = self._open()
        return self._client

    def lock(self) -> FileLock:
        """The lock to hold while creating something in the store that must exist only once.

        For a SQLite file it lies beside the file, so that all projects that share the file share the lock; for a server
        it is the project's lock.

        Raises:
            OSError: the file's folder cannot be created.
        """
        if self.file is None:
            return self.project_lock()
        file = self.file.resolve()
        file.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(file.parent, os.W_OK):  # nothing can be created there, so no lock is needed
            return self.project_lock()
        return FileLock(file.with_name(f"{file.name}.lock"), timeout=_LOCK_SECONDS)

    def project_lock(self) -> FileLock:
        """The lock to hold while creating something in the project's folder that must exist only once."""
        (self.root / "runs").mkdir(exist_ok=True)
        return FileLock(self.root / "runs" / "tracking.lock", timeout=_LOCK_SECONDS)

    @property
    def is_own(self) -> bool:
        """True if this is the project's own file, in which other projects record only if told to."""
        return self.file == self.root / "mlflow.db"

    @cached_property
    def origin(self) -> Origin:
        """The identity of the project."""
        with self.project_lock():
            return origin_of(self.root, self.is_own)

    def owns(self, tags: Mapping[str, str]) -> bool:
        """True if a run with these tags belongs to this project, which may then replace or delete it; see `Origin`.

        Runs without the tag `origin`, which older versions recorded, belong to the project whose own store this is.
        """
        name = tags.get("origin")
        return name == self.origin.name or (self.is_own and (name is None or name in self.origin.before))

    def artifact_location(self, experiment: str) -> str | None:
        """The location of an experiment's artifacts; None for a server, which decides itself."""
        return None if is_server(self.uri) else f"{(self.root / 'mlartifacts').as_uri()}/{experiment}"

    def require_answer(self) -> None:
        """Check that the store answers, without MLflow's long retries: a server's health, or opening the database.

        Raises:
            Unreachable: a server does not answer within a second.
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
                client.search_experiments(max_results=1)  # only this opens the database
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
            cure = "to create it again from runs/, move mlflow.db elsewhere, then: make sync"
        elif self.is_own:
            cure = "make the project's folder writable, with room on its disk, and run again"
        else:
            cure = "mend it, or unset MLFLOW_TRACKING_URI to record in mlflow.db"
        return TrackingError(f"{problem}; {cure}")


def settle() -> None:
    """Set MLflow's environment variables, except those that the user has set; call this before importing MLflow."""
    os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})


def connect(root: Path, uri: str | None = None) -> Store:
    """Open the store at `uri`, else at MLFLOW_TRACKING_URI, else `mlflow.db` in the project's folder.

    A server is not contacted yet. A database that is locked, unreadable or down at the moment is opened later, since
    runs can be made without it.

    Raises:
        TrackingError: the address is invalid, or the database cannot be opened for a permanent reason.
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
    """Context in which requests time out after a second, because a run waits; a timeout set by the user is kept."""
    if os.environ.get(_SECONDS) != SETTINGS[_SECONDS]:
        yield
        return
    os.environ[_SECONDS] = str(HURRIED_SECONDS)
    try:
        yield
    finally:
        os.environ[_SECONDS] = SETTINGS[_SECONDS]


def local_uri(root: Path) -> str:
    """The address of the project's own SQLite store."""
    return database.uri_of(root / "mlflow.db")


def serve_ui(root: Path, port: int) -> int:
    """Serve MLflow's pages for the local store until Ctrl-C, on 127.0.0.1 only and for no other host name.

    The server and its workers end when this process is asked to end.
    """
    connect(root, local_uri(root))
    hosts = f"127.0.0.1:{port},localhost:{port}"
    print(f"MLflow at http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    options = ["--backend-store-uri", local_uri(root), "--workers", "1", "--host", "127.0.0.1"]
    return serve([*options, "--port", str(port), "--allowed-hosts", hosts], SETTINGS)


def _quieten() -> None:
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it also logs what it raises


def _patience() -> float:
    return HURRIED_SECONDS if os.environ.get(_SECONDS) == str(HURRIED_SECONDS) else _PATIENCE_SECONDS


def _may_pass(error: BaseException | None) -> bool:
    """True if an error may be temporary: a SQLite error, however deeply wrapped by MLflow, or missing permission or
    space."""
    while error is not None:
        if isinstance(error, PermissionError) or getattr(error, "sqlite_errorname", "").startswith(_NOT_NOW):
            return True
        error = getattr(error, "orig", None) or error.__cause__
    return False
