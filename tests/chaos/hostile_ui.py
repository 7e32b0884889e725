"""The real `make ui` before hostile clients: Host headers, requests of other sites, and a browser on a hostile run."""

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.chaos.hostile_report import browser_page
from tests.chaos.hostile_world import World
from tests.chaos.table import Row

HOSTS = (
    *("evil.com", "evil.com:{port}", "127.0.0.1.evil.com", "127.0.0.1.evil.com:{port}", "10.evil.com:{port}"),
    *("localhost.evil.com", "localhost.evil.com:{port}", "192.168.evil.com:{port}", "evil.com:{port}/127.0.0.1:{port}"),
    *("[::1]", "[::1]:{port}", "", " ", "user@127.0.0.1:{port}", "127.0.0.1:{port}@evil.com", "LOCALHOST:{port}"),
    *(
        "localhost:{port}.",
        "localhost.:{port}",
        "localhost:1",
        "127.0.0.1",
        "localhost",
        "0.0.0.0:{port}",
        "2130706433",
    ),
    *("127.1:{port}", "0x7f000001:{port}", "*", "127.0.0.1:{port}, evil.com", "evil.com\r\nHost: localhost:{port}"),
    *("localhost:{port}\r\nHost: evil.com", "localhost:{port}\r\n evil.com", "localhost:{port}\0", "ｌocalhost:{port}"),
)
ORIGINS = (
    *("http://evil.com", "https://evil.com", "null", "http://127.0.0.1.evil.com:{port}", "http://localhost.evil.com"),
    *("http://10.0.0.1:{port}", "file://", "http://evil.com:{port}", "chrome-extension://x", "http://[::2]:{port}"),
)
PATHS = (
    "/api/2.0/mlflow/experiments/create",
    "/ajax-api/2.0/mlflow/experiments/create",
    "/ajax-api/3.0/mlflow/assistant/message",  # it can run commands for who is on this machine
)
STARTING_SECONDS = 600


def rows(hosts: int, origins: int, pages: bool, world: World) -> Iterator[Row]:
    """So many Host headers and origins; `pages` opens a browser, too."""
    with serving(world) as port:
        yield host_headers(hosts, port)
        yield other_sites(origins, port, world)
        if pages:
            yield in_a_browser(port, world)


@contextmanager
def serving(world: World) -> Iterator[int]:
    """`make ui` on a free port, until Ctrl-C."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (world.folder / "ui.log").open("wb") as log:
        command = ["make", "-s", "ui", f"PORT={port}"]
        world.commands += 1
        started = subprocess.Popen(
            command, cwd=world.project, env=world.environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            until = time.monotonic() + STARTING_SECONDS
            while status(port, "GET", "/health", f"localhost:{port}") != 200:
                assert time.monotonic() < until, (world.folder / "ui.log").read_text()[-1000:]
                assert started.poll() is None, (world.folder / "ui.log").read_text()[-1000:]
                time.sleep(0.2)
            yield port
        finally:
            os.killpg(started.pid, signal.SIGINT)
            started.wait(60)


def status(port: int, method: str, path: str, host: str, headers: str = "", body: str = "") -> int | None:
    """The answer to a request written by hand; None if the connection is refused, or closed without a word."""
    request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {len(body)}\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(f"{request}Connection: close\r\n\r\n{body}".encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status
    except (ConnectionError, http.client.BadStatusLine):
        return None


def host_headers(count: int, port: int) -> Row:
    """None of them gets a page or the API; the two names of this machine do."""
    wrong = []
    paths = (
        "/",
        "/api/2.0/mlflow/experiments/search?max_results=9",
        "/ajax-api/2.0/mlflow/experiments/search?max_results=9",
    )
    for number, host in enumerate(HOSTS[:count]):
        got = status(port, "GET", paths[number % 3], host.format(port=port))
        wrong += [f"{host!r}: {got}"] if got not in (None, 400, 403) else []
    for host in ("127.0.0.1", "localhost"):
        for path in paths:
            got = status(port, "GET", path, f"{host}:{port}")
            wrong += [f"{host!r}: {got}"] if got != 200 else []
    tried = len(HOSTS[:count])
    return Row("a hostile Host header gets nothing from make ui", tried, max(0, tried - len(wrong)), "; ".join(wrong))


def other_sites(count: int, port: int, world: World) -> Row:
    """What a page of another site may send without asking first; nothing may come of it."""
    wrong, before = [], experiments(world.project)
    for number, origin in enumerate(ORIGINS[:count]):
        kind = ("application/json", "text/plain", "application/x-www-form-urlencoded")[number % 3]
        headers = f"Origin: {origin.format(port=port)}\r\nContent-Type: {kind}\r\n"
        body = json.dumps({"name": f"made by {number}"})
        got = status(port, "POST", PATHS[number % len(PATHS)], f"127.0.0.1:{port}", headers, body)
        wrong += [f"{origin!r}: {got}"] if got != 403 else []
    if experiments(world.project) != before:
        wrong.append(f"made {experiments(world.project)}")
    tried = len(ORIGINS[:count])
    return Row("another site's POST changes nothing", tried, max(0, tried - len(wrong)), "; ".join(wrong))


def experiments(project: Path) -> list[str]:
    with closing(sqlite3.connect(project / "mlflow.db")) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM experiments ORDER BY name")]


def in_a_browser(port: int, world: World) -> Row:
    """MLflow's pages of an experiment and of its runs: nothing of theirs runs, and nobody else is called."""
    with closing(sqlite3.connect(world.project / "mlflow.db")) as connection:
        runs = connection.execute("SELECT run_uuid, name FROM runs").fetchall()
    places = [("#/experiments/1/runs", "summary"), *((f"#/experiments/1/runs/{run}", name) for run, name in runs)]
    wrong = []
    with browser_page() as (page, said):
        for place, name in places:
            page.goto(f"http://127.0.0.1:{port}/{place}")
            page.get_by_text(name).first.wait_for(timeout=120_000)
            wrong += [f"a script ran at {place}"] if page.evaluate("window.hacked") else []
    own = (f"http://127.0.0.1:{port}/", "console:", "blob:")
    wrong += [what for what in said if not what.startswith(own)]
    held = max(0, len(places) - len(wrong))
    return Row("MLflow's pages of hostile runs run nothing and call nobody", len(places), held, "; ".join(wrong[:5]))
