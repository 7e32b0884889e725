"""`make server`: MLflow's own server for a team, over a database and a place for artifacts that are checked first.

Clients send artifacts through it and need no access to where they lie. It listens on 127.0.0.1, or, where HOSTS names
the hosts that it may be called by, on all interfaces; any other host name is refused. What it does not do: encrypt (put
a proxy with TLS before it), and, without AUTH=1, ask who is there. With AUTH=1 MLflow's basic-auth app does: every user
reads everything, changes what is his own, and administrators all; see docs/deployment/README.md.
"""

import argparse
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.commands.arguments import port as port_number
from harness.commands.arguments import whole_number
from harness.values import SpecError

HELP = "MLflow's server for a team"
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?")
_WORKERS = 2
_REMEMBERED_SECONDS = 30
"""A password that was right is not hashed anew for so long, which would cost a tenth of a second a request; one that
was changed is taken so long by the server's other processes."""


def options(parser: argparse.ArgumentParser) -> None:
    for name, help in (
        ("backend", "its database"),
        ("artifacts", "where artifacts go: a folder, or an object store's address"),
        ("auth", "1: ask for users and passwords"),
        ("hosts", "names under which others call it"),
        ("port", "where it listens (5000)"),
        ("workers", f"its processes ({_WORKERS})"),
    ):  # from the environment, so that no password stands in a list of processes
        parser.add_argument(f"--{name}", default=os.environ.get(name.upper(), ""), help=help)


def act(chosen: argparse.Namespace, root: Path) -> int:
    """Check everything, then serve until asked to end. Returns the exit status.

    Raises:
        SpecError, TrackingError: in one line, within 15 seconds, what keeps the server from starting.
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
        print("warning: whoever reaches it reads, changes and deletes everything; AUTH=1 asks for passwords")
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
    """MLflow's basic-auth app, its users in the same database; its settings lie in a file that only this user reads."""
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
