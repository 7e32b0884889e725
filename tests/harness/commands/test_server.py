"""`make server`: what would keep it from starting is one line within 15 seconds, and shows no password."""

import argparse
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

import harness.tracking.serving
from harness.commands import server
from harness.values import HarnessError
from tests.harness.postgres import PASSWORD, Postgres, missing


def given(**values: str) -> argparse.Namespace:
    """What was typed, over an SQLite file and a folder that are fine."""
    names = ("backend", "artifacts", "auth", "hosts", "port", "workers")
    return argparse.Namespace(**(dict.fromkeys(names, "") | values))


def refusal(root: Path, **values: str) -> str:
    clock = time.monotonic()
    with pytest.raises(HarnessError) as raised:
        server.act(given(**values), root)
    assert time.monotonic() - clock < 15
    said = str(raised.value)
    assert "\n" not in said
    assert PASSWORD not in said
    return said


@pytest.fixture
def fine(tmp_path: Path) -> dict[str, str]:
    return {"backend": f"sqlite:///{tmp_path / 'team' / 'server.db'}", "artifacts": str(tmp_path / "artifacts")}


@pytest.fixture
def port() -> str:
    """A free one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], Mapping[str, str]]]:
    """What would be started."""
    calls: list[tuple[Sequence[str], Mapping[str, str]]] = []

    def serve(options: Sequence[str], settings: Mapping[str, str]) -> int:
        calls.append((options, dict(settings)))
        return 0

    monkeypatch.setattr(harness.tracking.serving, "serve", serve)
    return calls


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"backend": ""}, "BACKEND must be given: make server BACKEND="),
        ({"artifacts": ""}, "ARTIFACTS must be given: make server BACKEND="),
        ({"backend": f"http://me:{PASSWORD}@host"}, "BACKEND must be a database, as .*; got 'http://\\*\\*\\*@host'"),
        (
            {"backend": "sqlite:///server.db"},
            "^BACKEND must name its file absolutely, as sqlite:////absolute/path; got 'server.db'$",
        ),
        ({"backend": f"postgresql://me:{PASSWORD}@127.0.0.1:1/x"}, "'postgresql://.*@127.0.0.1:1/x' does not answer"),
        ({"backend": f"postgresql://me:{PASSWORD}@127.0.0.1:port/x"}, "BACKEND .* cannot be used: "),
        ({"backend": f"mysql://me:{PASSWORD}@127.0.0.1:1/x"}, "does not answer|needs a driver"),
        (
            {"artifacts": "/dev/null/artifacts"},
            "ARTIFACTS must be a folder that can be written to; /dev/null/.*: Not",
        ),
        ({"auth": "yes"}, "AUTH must be 0 or 1; got 'yes'"),
        ({"auth": "1"}, "AUTH=1 needs the first administrator's password, 12 characters or more"),
        ({"hosts": "*"}, "HOSTS must be host names, each with its port if need be"),
        ({"port": "0"}, "PORT must be 1..65535"),
    ],
)
def test_a_wrong_value_is_one_line(
    tmp_path: Path,
    fine: dict[str, str],
    port: str,
    values: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The field, the rule, the value, the next step; nothing is started."""
    monkeypatch.delenv("MLFLOW_AUTH_ADMIN_PASSWORD", raising=False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(harness.tracking.serving, "serve", pytest.fail)
        with pytest.raises(AssertionError, match=said):
            raise AssertionError(refusal(tmp_path, **{"port": port} | fine | values))


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, fine: dict[str, str]) -> None:
    """MLflow alone would start its processes and end in a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refusal(tmp_path, **fine, port=port)
    assert said == f"PORT {port} of 127.0.0.1 is not free: Address already in use; take another one with PORT="


def test_what_is_started(
    tmp_path: Path,
    fine: dict[str, str],
    started: list[tuple[Sequence[str], Mapping[str, str]]],
    port: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On this machine alone, or, for named hosts, on all interfaces; the database is named in the environment, where
    no list of processes shows it."""
    assert server.act(given(**fine, port=port), tmp_path) == 0
    assert server.act(given(**fine, port=port, hosts="mlflow.lab, lab2:80"), tmp_path) == 0
    (alone, settings), (named, _) = started
    assert alone[:4] == ["--host", "127.0.0.1", "--port", port]
    assert alone[alone.index("--allowed-hosts") + 1] == f"127.0.0.1:{port},localhost:{port}"
    assert alone[alone.index("--artifacts-destination") + 1] == (tmp_path / "artifacts").as_uri()
    assert fine["backend"] not in [*alone, *named]
    assert settings["MLFLOW_BACKEND_STORE_URI"] == fine["backend"]
    assert named[:2] == ["--host", "0.0.0.0"]
    assert named[named.index("--allowed-hosts") + 1] == f"127.0.0.1:{port},localhost:{port},mlflow.lab:{port},lab2:80"
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"record there with: export MLFLOW_TRACKING_URI=http://127.0.0.1:{port}"
    assert lines[-1].startswith(
        "warning: anyone who can reach it can read, change and delete everything; AUTH=1 requires"
    )


def test_with_users_its_settings_are_read_by_its_own_user_alone(
    tmp_path: Path, fine: dict[str, str], port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's basic-auth app, its users in the same database; the file with its address goes with the server."""
    pytest.importorskip("flask_wtf")
    seen: list[Path] = []

    def serve(options: Sequence[str], settings: Mapping[str, str]) -> int:
        assert options[-2:] == ["--app-name", "basic-auth"]
        assert len(settings["MLFLOW_FLASK_SERVER_SECRET_KEY"]) == 64
        seen.append(Path(settings["MLFLOW_AUTH_CONFIG_PATH"]))
        assert seen[0].parent.stat().st_mode & 0o077 == 0
        assert f"database_uri = {fine['backend']}\n" in seen[0].read_text()
        return 0

    monkeypatch.setattr(harness.tracking.serving, "serve", serve)
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "long enough for it")
    assert server.act(given(**fine, auth="1", port=port), tmp_path) == 0
    assert not seen[0].exists()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    if reason := missing():
        pytest.skip(reason)
    with Postgres() as running:
        running.sql(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
        yield running


def test_what_postgresql_refuses_is_one_line(
    postgres: Postgres, tmp_path: Path, started: list[tuple[Sequence[str], Mapping[str, str]]], port: str
) -> None:
    """A wrong password, no such database, a user who may make no tables; one who may leaves none behind."""
    artifacts = str(tmp_path / "artifacts")
    for uri, reason in (
        (postgres.uri(password="wr0ng-pass"), 'password authentication failed for user "owner"'),
        (postgres.uri("nowhere"), 'database "nowhere" does not exist'),
        (postgres.uri(user="guest"), "permission denied for schema public"),
    ):
        said = refusal(tmp_path, backend=uri, artifacts=artifacts, port=port)
        assert reason in said
        assert said.endswith("; see docs/deployment/README.md for what it needs")
        assert "wr0ng-pass" not in said
    assert server.act(given(backend=postgres.uri(), artifacts=artifacts, port=port), tmp_path) == 0
    assert started[0][1]["MLFLOW_BACKEND_STORE_URI"] == postgres.uri().replace("://", "+psycopg://")
    assert postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
