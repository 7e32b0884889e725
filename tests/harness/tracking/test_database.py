"""A SQLite store is whole or not there, wherever its project lies and however often its making is killed."""

import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from harness.records.events import Event
from harness.tracking import database
from harness.tracking.delivery import Delivery
from harness.tracking.store import TrackingError, connect, local_uri
from harness.tracking.tracker import Tracker
from tests.harness.runs import begun, write


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store just made."""
    path = tmp_path_factory.mktemp("fresh") / "mlflow.db"
    database.make(path)
    return path


def sql(path: Path, *statements: str) -> list[tuple[Any, ...]]:
    """What the last of these statements gives."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def migrate_in_place(path: Path, statements: int) -> None:
    """What MLflow alone does to a fresh file until it is killed (with SIGKILL, in a process of its own) before it makes
    or changes a table for the nth time."""
    child = os.fork()
    if child == 0:
        left = [statements]

        def look(_: object, __: object, text: str, *___: object) -> None:
            left[0] -= text.lstrip().upper().startswith(("CREATE TABLE", "ALTER TABLE", "DROP TABLE"))
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        event.listen(Engine, "connect", database._unsafe_and_fast)
        event.listen(Engine, "before_cursor_execute", look)
        SqlAlchemyStore(f"sqlite:///{path}", path.parent.as_uri())
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("statements", [1, 30, 100])
def test_a_store_that_was_left_half_made_is_made_anew(tmp_path: Path, statements: int) -> None:
    """However far MLflow's own migration came in place, as the versions before this one let it: the next command opens
    a whole store, where MLflow says that a table already exists."""
    path = tmp_path / "mlflow.db"
    migrate_in_place(path, statements)
    assert "new" not in connect(tmp_path).client.create_experiment("new")
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]
    assert sorted(name for (name,) in sql(path, "SELECT name FROM experiments")) == ["Default", "new"]


def killed_while_opening(root: Path, statements: int) -> int:
    """The status of a process that opens the project's store, and kills itself at a statement or rename of it."""
    child = os.fork()
    if child == 0:
        left = [statements]

        def strike(*_: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        replace = Path.replace
        event.listen(Engine, "before_cursor_execute", strike)
        Path.replace = lambda path, target: (strike(), replace(path, target))[1]  # pyright: ignore[reportAttributeAccessIssue]
        connect(root)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("started", ["nothing", "half"])
def test_kills_while_a_store_is_made_cost_nothing(tmp_path: Path, started: str) -> None:
    """SIGKILL at five moments from the first statement to the last, in a project without a store and in one with a
    half-made one: each time the next command opens a whole one, and nothing is left beside it."""
    struck = 0
    for statements in (0, 20, 300, 650, 2000):
        root = tmp_path / str(statements)
        root.mkdir()
        if started == "half":
            sql(root / "mlflow.db", "CREATE TABLE experiments (experiment_id)", "CREATE TABLE _alembic_tmp_runs (x)")
        struck += killed_while_opening(root, statements) == -signal.SIGKILL
        connect(root).client.create_experiment("new")
        assert sql(root / "mlflow.db", "SELECT count(*) FROM alembic_version") == [(1,)]
        assert {path.name for path in root.iterdir()} == {"mlflow.db", "mlflow.db.lock"}
        shutil.rmtree(root)
    assert struck >= 3


def test_a_store_with_the_last_migration_missing_is_made_anew_only_if_it_is_empty(fresh: Path, tmp_path: Path) -> None:
    """MLflow's own look at the version refuses both; the one that has a run stays as it is, and the line says how its
    runs come into a new one."""
    for name in ("empty", "used"):
        (tmp_path / name).mkdir()
        path = Path(shutil.copy(fresh, tmp_path / name / "mlflow.db"))
        if name == "used":
            sql(path, "INSERT INTO runs (run_uuid, experiment_id) VALUES ('kept', 0)")
        sql(path, "UPDATE alembic_version SET version_num = '451aebb31d03'")
    connect(tmp_path / "empty").client.create_experiment("new")
    before = sql(tmp_path / "used" / "mlflow.db", "SELECT * FROM runs, alembic_version")
    cure = r"cannot be opened: .*out-of-date.*; to create it again from runs/, move mlflow.db elsewhere, then: "
    with pytest.raises(TrackingError, match=cure + "make sync$"):
        connect(tmp_path / "used")
    assert sql(tmp_path / "used" / "mlflow.db", "SELECT * FROM runs, alembic_version") == before


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE recipes (title)",
        "CREATE TABLE _alembic_tmp_runs AS SELECT * FROM runs",
        "DROP TABLE jobs",
    ],
)
def test_what_somebody_recorded_is_never_replaced(fresh: Path, tmp_path: Path, statement: str) -> None:
    """A table that is not MLflow's, rows that a migration was moving, runs beside a missing table: nothing is made
    anew; what MLflow says of it is up to MLflow."""
    path = Path(shutil.copy(fresh, tmp_path / "mlflow.db"))
    sql(path, "INSERT INTO runs (run_uuid, experiment_id) VALUES ('kept', 0)", statement)
    if "recipes" in statement:
        sql(path, "DELETE FROM runs", "UPDATE alembic_version SET version_num = '451aebb31d03'")
    tables = sql(path, "SELECT count(*) FROM sqlite_master WHERE name IN ('recipes', '_alembic_tmp_runs', 'runs')")
    with suppress(TrackingError):
        connect(tmp_path)
    now = sql(path, "SELECT count(*) FROM sqlite_master WHERE name IN ('recipes', '_alembic_tmp_runs', 'runs')")
    assert now == tables


@pytest.mark.parametrize("name", ["50%", "a%20b", "what?", "c#", "it's", 'say "so"', "both ' and \"", "é ü", "a+b&c=d"])
def test_a_project_may_have_any_name(tmp_path: Path, fresh: Path, name: str, events: list[Event]) -> None:
    """The store, its artifacts and nothing else land in the project's folder; a run can be recorded and read there,
    also by MLflow's own client."""
    root = tmp_path / name
    root.mkdir()
    shutil.copy(fresh, root / "mlflow.db")
    folder = root / "runs" / begun(events).spec.experiment / begun(events).spec.key
    write(folder, events)
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "predictions.npz").write_bytes(b"numbers")
    Delivery(Tracker(root)).deliver(folder)
    tracker = Tracker(root)
    (run,) = tracker.runs(begun(events).spec.experiment).values()
    assert tracker.journal_of(run.id) == events
    assert tracker.artifact(run.id, "predictions.npz").is_relative_to(root / "mlartifacts")
    assert [file.path for file in tracker.client.list_artifacts(run.id)] == ["journal.jsonl", "predictions.npz"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert sorted(path.name for path in root.iterdir()) == ["mlartifacts", "mlflow.db", "mlflow.db.lock", "runs"]
    assert sql(root / "mlflow.db", "SELECT count(*) FROM runs") == [(1,)]


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_project_that_was_moved_or_copied_finds_its_artifacts(
    tmp_path: Path, fresh: Path, named: list[Event], how: str
) -> None:
    """They are read, also by MLflow's own client, and new ones written, below the folder where it lies now; the
    original of a copy is not touched."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    shutil.copy(fresh, old / "mlflow.db")
    name = begun(named).spec.experiment
    runs = [old / "runs" / name / str(seed) for seed in (0, 1)]
    for seed, folder in enumerate(runs):
        spec = begun(named).spec.model_copy(update={"seed": seed})
        write(folder, [begun(named).model_copy(update={"spec": spec}), *named[1:]])
        (folder / "artifacts").mkdir()
        (folder / "artifacts" / "predictions.npz").write_bytes(b"numbers")
    Delivery(Tracker(old)).deliver(runs[0])
    (shutil.move if how == "moved" else shutil.copytree)(old, new)
    before = sorted(old.rglob("*"))
    tracker = Tracker(new)
    Delivery(tracker).deliver(new / runs[1].relative_to(old))
    recorded = Tracker(new).runs(begun(named).spec.experiment)
    assert len(recorded) == 2
    for run in recorded.values():
        assert tracker.artifact(run.id, "predictions.npz").is_relative_to(new)
        assert (
            tracker.client.get_run(run.id).info.artifact_uri
            == f"{(new / 'mlartifacts').as_uri()}/{name}/{run.id}/artifacts"
        )
    assert sorted(old.rglob("*")) == before


def test_the_artifacts_of_another_project_stay_where_they_are(tmp_path: Path, fresh: Path, named: list[Event]) -> None:
    """Two projects record in the first one's store: opening it there does not take the other's experiment for its own
    that was moved."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    shutil.copy(fresh, ours / "mlflow.db")
    folder = theirs / "runs" / "e" / "r"
    write(folder, named)
    Delivery(Tracker(theirs, local_uri(ours))).deliver(folder)
    (run,) = Tracker(ours).runs(begun(named).spec.experiment).values()
    assert Tracker(ours).artifact(run.id, "journal.jsonl").is_relative_to(theirs / "mlartifacts")
