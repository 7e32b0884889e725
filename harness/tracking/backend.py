"""Check the database, artifact folder, port and users of a team's server before MLflow is started.

MLflow alone would retry for minutes or end with a traceback.
"""

import errno
import importlib.util
import os
import socket
import sqlite3
from pathlib import Path

from filelock import FileLock

from harness.tracking import database
from harness.tracking.address import TrackingError, masked, require_port, with_driver
from harness.values import HarnessError, SpecError, in_one_line

_SECONDS = 5
_KINDS = ("postgresql", "sqlite:///", "sqlite+pysqlite:///", "mysql", "mssql")
_ADMIN_CHARACTERS = 12
"""Minimum length of a password, as MLflow requires it."""


def require_database(uri: str) -> None:
    """Log in to the database and check that tables can be created if it has none; a SQLite file is created.

    Raises:
        SpecError: the text is not the address of a database.
        TrackingError: the database cannot be used, found within 15 seconds.
    """
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    if not uri.startswith(_KINDS):
        raise SpecError(
            f"BACKEND must be a database, as postgresql://user@host/name or sqlite:////path; got {masked(uri)!r}"
        )
    timeout = {"connect_timeout": _SECONDS} if uri.startswith(("postgresql", "mysql")) else {}
    try:
        if file := database.file_of(uri):
            _make_file(file)
        else:
            require_port(uri)
        engine = create_engine(with_driver(uri), poolclass=NullPool, connect_args=timeout)
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                connection.execute(text("CREATE TABLE harness_may_make_tables (x INTEGER)"))
                connection.rollback()
    except ImportError as error:
        raise TrackingError(f"BACKEND {uri!r} needs a driver ({error}); install it with: make extras") from error
    except HarnessError:
        raise
    except (SQLAlchemyError, sqlite3.Error, OSError, ValueError) as error:
        reason = in_one_line(getattr(error, "orig", None) or error)
        raise TrackingError(
            f"BACKEND {uri!r} cannot be used: {reason}; see docs/deployment/README.md for what it needs"
        ) from error


def _make_file(file: Path) -> None:
    if not file.is_absolute():
        raise SpecError(f"BACKEND must name its file absolutely, as sqlite:////absolute/path; got {str(file)!r}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f"{file.name}.lock")):
        database.prepare(file, _SECONDS)


def require_artifacts(place: str) -> str:
    """The address of the artifact store: a writable folder, created if needed, or an object store, unchecked.

    Raises:
        SpecError: the folder cannot be written to.
    """
    if "://" in place and not place.startswith("file://"):
        return place
    folder = Path(place.removeprefix("file://")).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "Permission denied")
    except OSError as error:
        problem = error.strerror or error
        raise SpecError(f"ARTIFACTS must be a folder that can be written to; {folder}: {problem}") from error
    return folder.as_uri()


def require_free(host: str, port: int) -> None:
    """Check that a server can listen on a port.

    Raises:
        SpecError: it cannot.
    """
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise SpecError(f"PORT {port} of {host} is not free: {reason}; take another one with PORT=") from error


def require_admin(uri: str) -> None:
    """Check that MLflow's basic-auth app has an administrator or can create one.

    Raises:
        SpecError: its package or the first administrator's password is missing.
    """
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.pool import NullPool

    if importlib.util.find_spec("flask_wtf") is None:
        raise SpecError("AUTH=1 needs the package Flask-WTF; install it with: make extras")
    with create_engine(with_driver(uri), poolclass=NullPool).connect() as connection:
        if inspect(connection).has_table("users") and connection.execute(text("SELECT 1 FROM users LIMIT 1")).first():
            return
    if len(os.environ.get("MLFLOW_AUTH_ADMIN_PASSWORD", "")) < _ADMIN_CHARACTERS:
        raise SpecError(
            f"AUTH=1 needs the first administrator's password, {_ADMIN_CHARACTERS} characters or more, in the "
            "environment variable MLFLOW_AUTH_ADMIN_PASSWORD (his name is admin, or MLFLOW_AUTH_ADMIN_USERNAME)"
        )
