"""The SQLite file of a local store: made whole or not at all, and kept pointing at where its project lies.

MLflow makes its schema in some fifty migrations, in place and not as one transaction: a process that dies among them
leaves a file that nothing opens any more. Here the file is made beside its place and renamed once it is whole, and one
that was left half made, with nothing recorded in it, is made anew.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from harness.environment.files import move_into_place

_RECORDED = {"alembic_version": "0", "workspaces": "0", "experiments": "experiment_id != 0"}
"""Table → which of its rows somebody recorded: MLflow itself fills these when it makes a store."""


def uri_of(path: Path) -> str:
    """The address of the SQLite file at an absolute path, whatever characters are in it.

    `%`, `?` and `#` are quoted. Such an address names the driver too, since MLflow makes a folder of what follows
    `sqlite:///` without unquoting it.
    """
    if not set("%?#") & set(str(path)):
        return f"sqlite:///{path}"
    from sqlalchemy.engine import URL

    return URL.create("sqlite+pysqlite", database=str(path)).render_as_string()


def file_of(uri: str) -> Path | None:
    """The file that such an address names; None for an address of another kind."""
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    return Path(make_url(uri).database or "")


def prepare(path: Path, patience: float) -> None:
    """Make the store, unless a whole one, or one in which anything is recorded, is there.

    The caller holds a lock that lies beside the file (`Store.lock`): a look without it would be out of date by the time
    that the store is made, and whatever another process had recorded meanwhile would be replaced.

    Args:
        patience: seconds to wait for another process's lock.

    Raises:
        sqlite3.Error: the file is no database, or locked, or cannot be read.
        OSError: its folder cannot be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size:
        with closing(sqlite3.connect(path, timeout=patience)) as connection:
            if not is_empty(connection) or _is_whole(connection):
                return
    make(path)


def make(path: Path) -> None:
    """Put a fresh store at `path` at once; whatever is there goes."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    for left in path.parent.glob(f"{path.name}.*.new*"):  # of processes that were killed: the caller holds the lock
        left.unlink(missing_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    temporary.touch()  # says at once what is wrong with the folder: MLflow would try for 100 seconds
    event.listen(Engine, "connect", _unsafe_and_fast)
    try:
        made = SqlAlchemyStore(uri_of(temporary.absolute()), (path.parent / "mlartifacts").absolute().as_uri())
        made.engine.dispose()
        for stale in ("-journal", "-wal", "-shm"):  # SQLite would play them back onto the new file
            path.with_name(path.name + stale).unlink(missing_ok=True)
        move_into_place(temporary, path)
    finally:
        event.remove(Engine, "connect", _unsafe_and_fast)
        temporary.unlink(missing_ok=True)


def _unsafe_and_fast(connection: Any, _: object) -> None:
    """Nothing of a file that is made beside its place need survive a crash, so no migration waits for the disk."""
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")


def follow(path: Path, root: Path, patience: float) -> None:
    """Let the store of a project that was moved or copied find its artifacts: MLflow records absolute places.

    An experiment's artifacts lie in `mlartifacts/<name>` of the project; one whose recorded place is another project's
    that still has them, and of which there are none here, is left alone.
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
    """Whether every migration is done."""
    import mlflow.store.db_migrations
    from alembic.script import ScriptDirectory

    tables = _tables(connection)
    if not _own_tables() <= tables or any(name.startswith("_alembic_tmp_") for name in tables):
        return False
    head = ScriptDirectory(next(iter(mlflow.store.db_migrations.__path__))).get_current_head()
    return connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(head,)]


def is_empty(connection: sqlite3.Connection) -> bool:
    """Nothing but what MLflow writes into a fresh store, and no table that is not MLflow's."""
    tables = {name: name.removeprefix("_alembic_tmp_") for name in _tables(connection)}  # a migration moves rows there
    return set(tables.values()) <= _own_tables() | set(_RECORDED) and not any(
        connection.execute(f"SELECT 1 FROM {name} WHERE {_RECORDED.get(of, '1')} LIMIT 1").fetchone()
        for name, of in tables.items()
    )
