"""`make server`: run MLflow's server for a team, after checking its database and artifact store.

Clients send artifacts through the server and need no access to the artifact store. The server listens on 127.0.0.1, or
on all interfaces if HOSTS= lists the host names by which it may be called; other host names are refused. It does not
encrypt (use a TLS proxy in front) and does not authenticate users unless AUTH=1 enables MLflow's basic-auth app: then
every user can read everything and change their own runs, and administrators can change all. See
docs/deployment/README.md.
"""

import argparse
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.commands.parser import port as port_number
from harness.commands.parser import whole_number
from harness.values import SpecError

HELP = "run MLflow's server for a team"
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?")
_WORKERS = 2
_REMEMBERED_SECONDS = 30
"""Checked passwords are cached for this time, because hashing costs 0.1 s per request. The server's other processes
accept an old password for as long after a change."""


def options(parser: argparse.ArgumentParser) -> None:
    for name, help in (
        ("backend", "its database"),
        ("artifacts", "the artifact store: a folder, or an object store's address"),
        ("auth", "1: require users and passwords"),
        ("hosts", "host names by which clients call it"),
        ("port", "the port on which it listens (5000)"),
        ("workers", f"number of its processes ({_WORKERS})"),
    ):  # from the environment, so that no password is shown in process lists
        parser.add_argument(f"--{name}", default=os.environ.get(name.upper(), ""), help=help)


def act(chosen: argparse.Namespace, root: Path) -> int:
    """Check everything, then serve until asked to end; returns the exit status.

    Raises:
        SpecError, TrackingError: the server cannot start; found within 15 seconds.
    """
    port, hosts = port_number(chosen.port, 5000), _hosts(chosen.hosts)
    workers = whole_number(chosen.workers, "WORKERS") or _WORKERS
    if chosen.auth not in ("", "0", "1"):
        raise SpecError(f"AUTH must be 0 or 1; got {chosen.auth!r}")
    for name, value in (("BACKEND", chosen.backend), ("ARTIFACTS", chosen.artifacts)):
        if not value:
            raise SpecError(f"{name} must be given: make server BACKEND=postgresql://user@host/name ARTIFACTS=/folder")
    from harness.tracking import backend
    from harness.tracking.address import with_driver
    from harness.tracking.serving import serve
    from harness.tracking.store import SETTINGS

    host = "0.0.0.0" if hosts else "127.0.0.1"
    backend.require_free(host, port)
    artifacts = backend.require_artifacts(chosen.artifacts)
    backend.require_database(chosen.backend)
    uri, asks = with_driver(chosen.backend), chosen.auth == "1"
    if asks:
        backend.require_admin(uri)
    allowed = ["127.0.0.1", "localhost", *hosts]
    listening = ["--host", host, "--port", str(port), "--workers", str(workers), "--artifacts-destination", artifacts]
    names = ["--allowed-hosts", ",".join(name if ":" in name else f"{name}:{port}" for name in allowed)]
    with _asking(uri) if asks else _not_asking() as (more, settings):
        _tell(port, hosts, asks)
        return serve([*listening, *names, *more], SETTINGS | {"MLFLOW_BACKEND_STORE_URI": uri} | settings)


def _tell(port: int, hosts: list[str], asks: bool) -> None:
    print(f"MLflow at http://127.0.0.1:{port} (Ctrl-C ends it)")
    where = hosts[0] if hosts else "127.0.0.1"
    print(f"record there with: export MLFLOW_TRACKING_URI=http://{where if ':' in where else f'{where}:{port}'}")
    if hosts and not asks:
        print("warning: anyone who can reach it can read, change and delete everything; AUTH=1 requires passwords")
    print(end="", flush=True)


def _hosts(text: str) -> list[str]:
    found = text.replace(",", " ").split()
    for name in found:
        if not _HOST.fullmatch(name):
            raise SpecError(f"HOSTS must be host names, each with its port if need be (mlflow.lab:5000); got {name!r}")
    return found


@contextmanager
def _not_asking() -> Iterator[tuple[list[str], dict[str, str]]]:
    yield [], {}


@contextmanager
def _asking(uri: str) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Options for MLflow's basic-auth app, with users in the same database and settings in a private file."""
    with tempfile.TemporaryDirectory(prefix="harness-auth-") as folder:
        file = Path(folder) / "basic_auth.ini"
        escaped = uri.replace("%", "%%")
        file.write_text(
            f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {escaped}\nadmin_username = admin\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            f"auth_cache_ttl_seconds = {_REMEMBERED_SECONDS}\n"
        )
        secret = os.environ.get("MLFLOW_FLASK_SERVER_SECRET_KEY") or secrets.token_hex(32)
        settings = {"MLFLOW_AUTH_CONFIG_PATH": str(file), "MLFLOW_FLASK_SERVER_SECRET_KEY": secret}
        yield ["--app-name", "basic-auth"], settings
