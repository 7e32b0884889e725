"""What docs/deployment starts, started by its own command lines on this machine: a team's server over PostgreSQL, a Ray
head and a worker, and a grid through all of them; by `make test-engines`.
"""

import configparser
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import yaml

from tests.bench.start_up import copy_project
from tests.harness.postgres import PASSWORD, Postgres, missing

pytestmark = [
    pytest.mark.engines,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]
ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "deployment"
ADMIN, TOKEN = "adm1n-passw0rd", "0123456789abcdef" * 4


@dataclass(frozen=True)
class Service:
    """A command line and what is in its environment."""

    command: list[str]
    variables: dict[str, str] = field(default_factory=dict)


def unit(name: str, given: dict[str, str]) -> Service:
    """A systemd unit, its EnvironmentFile with `given`; the checkout's environment in place of /srv/harness's."""
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str  # pyright: ignore[reportAttributeAccessIssue] as its documentation says
    parsed.read(FOLDER / f"{name}.service")
    section = parsed["Service"]
    variables = dict(pair.split("=", 1) for pair in section.get("Environment", "").split()) | given
    line = section["ExecStart"].replace("/srv/harness/.venv/bin/", f"{Path(sys.executable).parent}/")
    return Service([_filled(word, variables) for word in line.split()], variables)


def container(name: str, given: dict[str, str], here: dict[str, str]) -> Service:
    """A service of compose.yaml, its .env with `given`; names that only its network knows are replaced by `here`."""
    service = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"][name]
    line = _filled(service["command"], given)
    variables = {key: _filled(value, given) for key, value in service.get("environment", {}).items()}
    for there, address in here.items():
        line = line.replace(there, address)
        variables = {key: value.replace(there, address) for key, value in variables.items()}
    program, *words = shlex.split(line)
    return Service([str(Path(sys.executable).with_name(program)), *words], variables)


def _filled(text: str, variables: dict[str, str]) -> str:
    """${NAME}, ${NAME:-default} and ${NAME:?what is missing}, as systemd and Compose fill them in."""

    def value(found: re.Match[str]) -> str:
        default = found["rest"][2:] if found["rest"].startswith(":-") else None
        return variables.get(found["name"], default) if default is not None else variables[found["name"]]

    return re.sub(r"\$\{(?P<name>\w+)(?P<rest>(:[-?][^}]*)?)\}", value, text)


def by_units(folder: Path, postgres: Postgres, port: int) -> dict[str, Service]:
    server = {
        "BACKEND": postgres.uri("team"),
        "ARTIFACTS": str(folder / "artifacts"),
        "AUTH": "1",
        "PORT": str(port),
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN,
    }
    node = {"NODE_IP": "127.0.0.1", "HEAD_IP": "127.0.0.1", "RAY_AUTH_TOKEN": TOKEN}
    return {
        "server": unit("mlflow-server", server),
        "head": unit("ray-head", node),
        "worker": unit("ray-worker", node),
    }


def by_compose(folder: Path, postgres: Postgres, port: int) -> dict[str, Service]:
    here = {
        "mlflow@postgres": f"owner@127.0.0.1:{postgres.port}",
        "/mlflow": "/team",
        "/artifacts": str(folder / "artifacts"),
        "ray-head:": "127.0.0.1:",
    }
    given = {"POSTGRES_PASSWORD": PASSWORD, "ADMIN_PASSWORD": ADMIN, "RAY_TOKEN": TOKEN}
    server = container("mlflow", given, here)
    return {
        "server": Service(server.command, server.variables | {"PORT": str(port)}),
        "head": container("ray-head", given, here),
        "worker": container("ray-worker", given, here),
    }


@contextmanager
def running(service: Service, log: Path) -> Iterator[None]:
    """Stopped as systemd and Docker stop it: SIGTERM; what is left after a minute is a failure."""
    environment = {
        name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "RAY_TMPDIR") if name in os.environ
    }
    with log.open("wb") as said:
        process = subprocess.Popen(
            service.command, cwd=ROOT, env=environment | service.variables, stdout=said, stderr=subprocess.STDOUT
        )
    try:
        yield
        assert process.poll() is None, log.read_text()[-2000:]
    finally:
        every = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        _, left = psutil.wait_procs(every, timeout=60)
        for each in left:
            each.kill()
    assert not left


def _until(there: Callable[[], bool], seconds: float = 120.0) -> None:
    limit = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < limit
        time.sleep(0.3)


def _is_taken(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def _answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=1):
            return True
    except OSError:
        return False


def _nodes() -> int:
    status = [str(Path(sys.executable).with_name("ray")), "status", "--address=127.0.0.1:6379"]
    said = subprocess.run(status, capture_output=True, text=True).stdout
    return len(re.findall(r"^ 1 node_", said, re.MULTILINE))


@pytest.mark.parametrize("services", [by_units, by_compose])
def test_what_is_started_makes_a_grid(
    services: Callable[[Path, Postgres, int], dict[str, Service]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three runs on Ray through the head's address, recorded by the server, with its password, in PostgreSQL."""
    pytest.importorskip("grpc", reason="needs the extra `ray`: make extras")
    if any(map(_is_taken, (6379, 10001))):
        pytest.skip("another Ray head runs on this machine")
    project, uri = copy_project(ROOT, tmp_path), ""
    temporary = Path("/tmp") / f"ray-{os.getpid()}"  # a socket's path is short
    for name, value in (("TMPDIR", str(temporary)), ("AUTH_MODE", "token"), ("AUTH_TOKEN", TOKEN)):
        monkeypatch.setenv(f"RAY_{name}", value)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        postgres = stack.enter_context(Postgres())
        postgres.sql("CREATE DATABASE team")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        uri = f"http://127.0.0.1:{port}"
        for name, service in services(tmp_path, postgres, port).items():
            stack.enter_context(running(service, tmp_path / f"{name}.log"))
            if name == "head":
                _until(lambda: _is_taken(6379) and _is_taken(10001))
        _until(lambda: _answers(uri))
        _until(lambda: _nodes() == 2)
        told = {"URI": uri, "USERNAME": "admin", "PASSWORD": ADMIN}
        environment = os.environ | {f"MLFLOW_TRACKING_{name}": value for name, value in told.items()}
        command = ["run", "--ray=ray://127.0.0.1:10001", "--set=threads=1", "--seeds=1", "--", "quickstart"]
        done = subprocess.run(
            [sys.executable, "-m", "harness", *command], cwd=project, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        finished = "SELECT count(*) FROM tags WHERE key = 'state' AND value = 'finished'"
        assert postgres.sql(finished, "team") == [(3,)]
        assert len(list((tmp_path / "artifacts").rglob("weights.safetensors"))) == 3
