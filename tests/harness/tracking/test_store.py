"""Opening a store: what cannot be used is refused in one line, within seconds; a fresh one survives two at once.

A server may be down when it is opened, and says so when it is asked.
"""

import errno
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.engine.default import DefaultDialect

from harness.tracking import store
from harness.tracking.store import TrackingError, Unreachable, connect, hurried
from tests.harness.tracking.conftest import REFUSED, refusal, silence

PROJECT = Path(__file__).resolve().parents[3]


OPEN_AT_ONCE = """
import sys, time
from pathlib import Path
from harness.tracking.tracker import Tracker
from harness.tracking import database
import mlflow.store.tracking.sqlalchemy_store
shared, root, number = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
make = database.make
database.make = lambda path: (time.sleep(2 * number), make(path))  # both have looked, and one records first
(shared / f"ready{number}").touch()
while len(list(shared.glob("ready*"))) < 2:
    time.sleep(0.01)
tracker = Tracker(root, f"sqlite:///{shared / 'mlflow.db'}")
tracker.experiment_id(f"of{number}")
print(tracker.experiment_id("shared") != "")
"""


def test_a_database_that_fails_is_not_talked_about(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What it raises is for us to say, in one line: MLflow would log its traceback besides."""
    client = connect(tmp_path, store.local_uri(tmp_path)).client
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("DROP TABLE runs")
    with pytest.raises(MlflowException, match="no such table"):
        client.search_runs(["0"])
    assert capfd.readouterr().err == ""


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A text, a folder, a place where no file can be: at once, where MLflow alone would try for 100 seconds."""
    (tmp_path / "text.db").write_text("no database" * 1000)
    (tmp_path / "folder.db").mkdir()
    for name, reason in (
        ("text.db", "file is not a database"),
        ("folder.db", "unable to open database file"),
        ("text.db/x.db", "File exists"),
    ):
        uri = f"sqlite:///{tmp_path / name}"
        said = refusal(tmp_path, uri)
        assert said.startswith(f"the tracking store {uri!r} cannot be opened: ")
        assert reason in said
        assert said.endswith("; mend it, or unset MLFLOW_TRACKING_URI to record in mlflow.db")
    assert (tmp_path / "text.db").read_text() == "no database" * 1000


def test_a_database_without_its_driver_is_refused(tmp_path: Path) -> None:
    """MySQL's driver is not among the packages: the line names it."""
    assert "No module named 'MySQLdb'" in refusal(tmp_path, "mysql://user@127.0.0.1/mlflow")


@pytest.mark.parametrize(
    "uri", ["postgresql://me:s3cret@{}/x", "postgresql://{}/x?user=me&password=s3cret", "mysql://me:s3cret@{}/x"]
)
def test_a_database_that_is_refused_keeps_its_password(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the driver: the line names it, and the host, and no more."""

    def missing(_: object) -> None:
        raise ModuleNotFoundError("No module named 'driver'")

    for dialect in (PGDialect_psycopg2, PGDialect_psycopg):
        monkeypatch.setattr(dialect, "import_dbapi", classmethod(missing))
    said = refusal(tmp_path, uri.format("127.0.0.1:1"))
    assert "127.0.0.1:1" in said
    assert "No module named" in said
    assert "s3cret" not in said


def test_a_database_that_is_down_is_asked_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody at its port: runs can be made without it, as without a server, and at once."""
    monkeypatch.setattr(DefaultDialect, "import_dbapi", classmethod(lambda cls: None))
    for dialect in (PGDialect_psycopg2, PGDialect_psycopg):
        monkeypatch.setattr(dialect, "import_dbapi", classmethod(lambda cls: None))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = silence(tmp_path, f"postgresql://me:s3cret@127.0.0.1:{port}/x")
    assert said == f"the tracking store 'postgresql://***@127.0.0.1:{port}/x' does not answer ({REFUSED})"


def test_a_store_that_is_locked_or_unreadable_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds it, or it may not be read now: it is opened once it can be, and says until then why not."""
    connect(tmp_path)
    monkeypatch.setattr(store, "_PATIENCE_SECONDS", 0.1)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        opened = connect(tmp_path)
        with pytest.raises(Unreachable, match=r"^the tracking store '.*' cannot be opened: database is locked$"):
            opened.require_answer()
        other.execute("ROLLBACK")
        opened.require_answer()
    assert opened.client.search_experiments()

    def forbidden(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "mlflow.db")

    with monkeypatch.context() as patched:
        patched.setattr(store.database, "prepare", forbidden)
        opened = connect(tmp_path)
        with pytest.raises(Unreachable, match=r"Permission denied: 'mlflow.db'$"):
            opened.require_answer()
    opened.require_answer()


@pytest.mark.parametrize("projects", [1, 2])
def test_two_processes_may_open_a_fresh_store_at_once(tmp_path: Path, projects: int) -> None:
    """Both work, on one experiment, whether they are of one project or of two that share a file; without the lock
    beside the file it would be half-migrated for ever, or one would replace what the other has just recorded in."""
    roots = [tmp_path / f"project{number % projects}" for number in (1, 2)]
    for root in roots:
        root.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AT_ONCE, str(tmp_path), str(root), str(number)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, root in enumerate(roots)
    ]
    ended = [process.communicate(timeout=300) for process in begun]
    assert [process.returncode for process in begun] == [0, 0], ended
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM experiments ORDER BY name")]
        assert names == ["Default", "of0", "of1", "shared"]
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def test_settings_are_safe_unless_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Telemetry, pickles and asynchronous logging are off, no request is repeated; what the user has set stays."""
    for name in store.SETTINGS:
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    refusal(tmp_path, "nonsense")
    settings = {name: os.environ[name] for name in store.SETTINGS}
    assert settings.pop("MLFLOW_HTTP_REQUEST_TIMEOUT") == "77"
    assert settings.pop("MLFLOW_HTTP_REQUEST_MAX_RETRIES") == "0"
    with hurried():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    refusal(tmp_path, "nonsense")
    with hurried():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "30"
    assert settings == {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_TRACKING_URI counts where no URI is given."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense")
    with pytest.raises(TrackingError, match=r"got 'nonsense'$"):
        connect(tmp_path)


def test_the_ui_answers_on_this_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bound to 127.0.0.1, answering to that name and localhost at its port; the store is opened, whole, before. Checks
    are on, whatever the environment says, and nothing is run on an API's behalf."""
    commands: list[list[str]] = []
    environments: list[dict[str, str]] = []
    monkeypatch.setenv("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    monkeypatch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "*")

    real = subprocess.Popen

    def start(command: list[str], env: dict[str, str], **rest: Any) -> subprocess.Popen[Any]:
        commands.append(command)
        environments.append(env)
        return real(["sh", "-c", "exit 3"], **rest)

    monkeypatch.setattr(store, "connect", lambda root, uri: commands.append([uri]))
    monkeypatch.setattr(subprocess, "Popen", start)
    assert store.serve_ui(tmp_path, 5001) == 3
    opened, command = commands
    assert opened == [f"sqlite:///{tmp_path / 'mlflow.db'}"]
    given = dict(zip(command[7::2], command[8::2], strict=True))  # after the keeper and `mlflow server`
    assert given == {
        "--backend-store-uri": opened[0],
        "--workers": "1",
        "--host": "127.0.0.1",
        "--port": "5001",
        "--allowed-hosts": "127.0.0.1:5001,localhost:5001",
    }
    (environment,) = environments
    assert environment["MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE"] == "false"
    assert environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == ""
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


SERVE = """
import subprocess, sys
from pathlib import Path
from harness.tracking import store

real = subprocess.Popen
command = ["sh", "-c", "sleep 600 & echo $!; wait"]
subprocess.Popen = lambda keeper, **rest: real([*keeper[:3], *command], **rest)  # in place of `mlflow server`
store.connect = lambda *_: None
sys.exit(store.serve_ui(Path("."), 5001))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_ui_ends_with_all_its_processes(number: signal.Signals) -> None:
    """Ctrl-C, `kill` and a closed terminal reach the command alone; the server's workers are gone all the same."""
    with subprocess.Popen([sys.executable, "-c", SERVE], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout
        assert "Ctrl-C" in command.stdout.readline()
        worker = psutil.Process(int(command.stdout.readline()))
        command.send_signal(number)
        assert command.wait(60) != 0
    psutil.wait_procs([worker], timeout=60)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
