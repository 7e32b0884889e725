"""The SQLite file of a local store: created atomically, and updated when its project is moved or copied.

MLflow creates its schema in about fifty migrations that are not one transaction; a process that dies among them leaves
a file that cannot be opened any more. Here the file is created under a temporary name and renamed once it is complete.
An incomplete file in which nothing is recorded is created again.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from harness.environment.files import move_into_place

_RECORDED = {"alembic_version": "0", "workspaces": "0", "experiments": "experiment_id != 0"}
"""Table → SQL condition for rows recorded by users; MLflow itself adds other rows to these tables in a new store."""


def uri_of(path: Path) -> str:
    """The address of the SQLite file at an absolute path, with any characters in it.

    `%`, `?` and `#` are quoted. An address with quoted characters also names the driver, because MLflow would create a
    folder from the quoted text after `sqlite:///`.
    """
    if not set("%?#") & set(str(path)):
        return f"sqlite:///{path}"
    from sqlalchemy.engine import URL

    return URL.create("sqlite+pysqlite", database=str(path)).render_as_string()


def file_of(uri: str) -> Path | None:
    """The file that a SQLite address names; None for other addresses."""
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    return Path(make_url(uri).database or "")


def prepare(path: Path, patience: float) -> None:
    """Create the store unless there is a complete one, or one in which anything is recorded.

    The caller must hold `Store.lock`; otherwise another process could record runs between the check and the creation,
    and they would be lost.

    Args:
        patience: seconds to wait for another process's lock.

    Raises:
        sqlite3.Error: the file is not a database, is locked, or cannot be read.
        OSError: its folder cannot be created or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size:
        with closing(sqlite3.connect(path, timeout=patience)) as connection:
            if not is_empty(connection) or _is_whole(connection):
                return
    make(path)


def make(path: Path) -> None:
    """Replace whatever is at `path` by a new, empty store, atomically."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    for left in path.parent.glob(f"{path.name}.*.new*"):  # left by killed processes, as the caller holds the lock
        left.unlink(missing_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    temporary.touch()  # fails at once if the folder is not writable; MLflow would retry for 100 s
    event.listen(Engine, "connect", _unsafe_and_fast)
    try:
        made = SqlAlchemyStore(uri_of(temporary.absolute()), (path.parent / "mlartifacts").absolute().as_uri())
        made.engine.dispose()
        for stale in ("-journal", "-wal", "-shm"):  # SQLite would apply them to the new file
            path.with_name(path.name + stale).unlink(missing_ok=True)
        move_into_place(temporary, path)
    finally:
        event.remove(Engine, "connect", _unsafe_and_fast)
        temporary.unlink(missing_ok=True)


def _unsafe_and_fast(connection: Any, _: object) -> None:
    """Do not sync to disk during migrations: the temporary file need not survive a crash."""
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")


def follow(path: Path, root: Path, patience: float) -> None:
    """Update the artifact locations, which MLflow records as absolute paths, after a project was moved or copied.

    An experiment's artifacts are in `mlartifacts/<name>` of the project. An experiment is left alone if its artifacts
    exist at the recorded place and not in this project.
    """
    here = (root / "mlartifacts").absolute().as_uri()
    with closing(sqlite3.connect(path, timeout=patience)) as connection, connection:
        recorded = connection.execute("SELECT experiment_id, name, artifact_location FROM experiments").fetchall()
        for number, name, location in recorded:
            folder = (location or "").rpartition("/")[2]
            if folder not in (name, str(number)) or not location.endswith(f"/mlartifacts/{folder}"):
                continue
            now = f"{here}/{folder}"
            if location == now or (_path(location).is_dir() and not _path(now).is_dir()):
                continue
            connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (now, number))
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (now, len(location) + 1, number, len(location) + 1, location + "/"),
            )


def _path(uri: str) -> Path:
    return Path(unquote(uri.removeprefix("file://")))


def _tables(connection: sqlite3.Connection) -> set[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    return {name for (name,) in connection.execute(query)}


def _own_tables() -> set[str]:
    from mlflow.store.db.base_sql_model import Base

    return set(Base.metadata.tables)


def _is_whole(connection: sqlite3.Connection) -> bool:
    """True if all of MLflow's migrations have been applied."""
    import mlflow.store.db_migrations
    from alembic.script import ScriptDirectory

    tables = _tables(connection)
    if not _own_tables() <= tables or any(name.startswith("_alembic_tmp_") for name in tables):
        return False
    head = ScriptDirectory(next(iter(mlflow.store.db_migrations.__path__))).get_current_head()
    return connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(head,)]


def is_empty(connection: sqlite3.Connection) -> bool:
    """True if the file has only MLflow's tables, and only rows that MLflow writes into a new store."""
    tables = {name: name.removeprefix("_alembic_tmp_") for name in _tables(connection)}  # a migration's own
    return set(tables.values()) <= _own_tables() | set(_RECORDED) and not any(
        connection.execute(f"SELECT 1 FROM {name} WHERE {_RECORDED.get(of, '1')} LIMIT 1").fetchone()
        for name, of in tables.items()
    )
