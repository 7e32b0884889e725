"""Addresses of stores: what is none is refused, a server that does not answer says so in time, no password is shown."""

import socket
from pathlib import Path

import pytest

from harness.tracking.store import TrackingError
from tests.harness.tracking.conftest import REFUSED, refusal, server, silence


def test_a_server_that_is_down_says_so_at_once(tmp_path: Path) -> None:
    """MLflow alone would try a closed port for minutes. Opening asks nothing: runs can be made without it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = silence(tmp_path, f"http://127.0.0.1:{port}")
    assert said == f"the tracking server 'http://127.0.0.1:{port}' does not answer ({REFUSED})"


def test_a_server_that_hangs_says_so_in_time(tmp_path: Path) -> None:
    """It takes the call and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "timed out" in silence(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH-2.0-OpenSSH_9.6"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "Service Unavailable"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "it answered 204"),
        (b"", "closed connection"),
    ],
    ids=["ssh", "unavailable", "empty", "hangs up"],
)
def test_what_is_not_a_healthy_server_does_not_answer(tmp_path: Path, answer: bytes, reason: str) -> None:
    """Another protocol, an error, a closed connection: the reason is in the line."""
    with server(answer) as uri:
        assert reason in silence(tmp_path, uri)


@pytest.mark.parametrize("uri", ["http://localhost:abc", "http://", "http://[::1", "http://localhost:0"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, uri: str) -> None:
    """A mistyped port or host is a line, before anything is trained: no server will ever be there."""
    rule = f"`MLFLOW_TRACKING_URI` must be a server's address, as http://127.0.0.1:5000; got {uri!r}"
    assert refusal(tmp_path, uri) == rule


def test_a_password_in_the_address_is_refused_and_not_shown(tmp_path: Path) -> None:
    """Neither the question after its health nor a line about it may carry a password; MLflow has variables for it."""
    said = refusal(tmp_path, "http://user:secret@127.0.0.1:5000")
    assert said.startswith("`MLFLOW_TRACKING_URI` must not hold a user or password; set MLFLOW_TRACKING_USERNAME and ")
    assert "secret" not in said


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "mlruns", "databricks", "sqlite:mlflow.db"])
def test_what_is_neither_database_nor_server_is_refused(tmp_path: Path, uri: str) -> None:
    """MLflow's folders are gone, and a relative database would depend on where the command was typed."""
    rule = f"`MLFLOW_TRACKING_URI` must be a database or a server (sqlite:///…, http://…); got {uri!r}"
    assert refusal(tmp_path, uri) == rule


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:s3cret@db.example/x",
        "'mysql+pymysql://me:s3cret/@odd@host:1/x' cannot",
        "postgresql://host/x?user=me&password=s3cret&sslmode=on",
        "connection failed: host=db password='s3cret' dbname=x",
        "MLFLOW_TRACKING_TOKEN=s3cret",
    ],
)
def test_no_message_holds_a_password(text: str) -> None:
    """Whoever wrote it: what else it says stays."""
    said = str(TrackingError(f"before {text} after"))
    assert "s3cret" not in said
    assert "***" in said
    assert said.startswith("before ")
    assert said.endswith(" after")
