"""A team's server over PostgreSQL, killed while many deliver at once: every run, row and artifact is there, once.

Debian's package postgresql and the extras `postgres` and `auth` must be installed.
"""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from harness.plans.experiment import Design
from harness.plans.hyperparameters import SGD
from harness.plans.spec import Circumstances, Data, Model, Recipe, RunSpec
from harness.records.events import Event, Finished
from harness.tracking.delivery import Delivery
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Tracker
from tests.chaos.table import Row
from tests.harness.postgres import PASSWORD, Postgres
from tests.harness.runs import made_up, write

PROJECT = Path(__file__).resolve().parents[2]
ADMIN = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "adm1n-passw0rd"}
FILES = {"predictions.npz": b"predictions" * 1000, "weights.safetensors": b"w" * 200_000, "figures/curves.png": b"png"}


@dataclass(frozen=True)
class Counts:
    """How much is tried."""

    runs: int
    """Delivered at once, each from a project of its own."""
    kills: int


FULL = Counts(runs=40, kills=5)
REDUCED = Counts(runs=4, kills=1)


class TeamServer:
    """`make server` over a database; killed when the block is left.

    Args:
        more: variables for it, beside BACKEND, ARTIFACTS and PORT.
    """

    def __init__(self, folder: Path, backend: str, port: int, **more: str):
        self.uri, self.artifacts, self._log = f"http://127.0.0.1:{port}", folder / "artifacts", folder / "server.log"
        given = {"BACKEND": backend, "ARTIFACTS": str(self.artifacts), "PORT": str(port), "WORKERS": "1"} | more
        self._environment = os.environ | given
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "TeamServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness", "server"], cwd=PROJECT, env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                return
            time.sleep(0.1)
        raise TimeoutError(self.said()[-2000:])

    def kill(self, alone: bool = False) -> bool:
        """SIGKILL, for it and all its processes, or `alone`; whether all of them have ended within a minute."""
        if self._process is None:
            return True
        every = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        for process in every[: 1 if alone else None]:
            process.kill()
        self._process.wait()
        self._process = None
        _, left = psutil.wait_procs(every, timeout=60)
        for process in left:
            process.kill()
        return not left

    def said(self) -> str:
        return self._log.read_text()


def rows(counts: Counts, folder: Path) -> Iterator[Row]:
    """Needs free ports of 127.0.0.1."""
    with Postgres() as postgres, pytest.MonkeyPatch.context() as patched:
        postgres.sql("CREATE DATABASE team")
        yield from killed(counts, folder, postgres, patched)


def killed(counts: Counts, folder: Path, postgres: Postgres, patched: pytest.MonkeyPatch) -> Iterator[Row]:
    """All deliver until everything is delivered, while the server is killed and started again."""
    for name, value in ADMIN.items():
        patched.setenv(name, value)
    patched.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", ADMIN["MLFLOW_TRACKING_PASSWORD"])
    patched.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with TeamServer(folder, postgres.uri("team"), _free_port(), AUTH="1") as server:
        made = [_project(folder, number) for number in range(counts.runs)]
        Tracker(folder / "project 0", server.uri).experiment_id("team")
        delivered: list[Path] = []
        threads = [threading.Thread(target=_deliver, args=(server.uri, at, delivered)) for at in made]
        for thread in threads:
            thread.start()
        ended = 0
        for kill in range(counts.kills):
            while len(delivered) < (kill + 1) * counts.runs // (counts.kills + 2):
                time.sleep(0.01)
            ended += server.kill(alone=kill % 2 == 0)
            server.start()
        for thread in threads:
            thread.join()
        yield Row("`make server` is killed: its processes end with it", counts.kills, ended)
        again = [Delivery(Tracker(at.parents[2], server.uri)).deliver(at) for at in made]
        yield Row("a second delivery finds nothing to do", counts.runs, again.count(None), f"{counts.kills} kills")
        yield from _counted(counts.runs, server, postgres)
        said = server.said()
    secrets = [ADMIN["MLFLOW_TRACKING_PASSWORD"], PASSWORD]
    yield Row("what the server says holds no password", len(secrets), sum(secret not in said for secret in secrets))


def _counted(runs: int, server: TeamServer, postgres: Postgres) -> Iterator[Row]:
    alive = "runs WHERE lifecycle_stage = 'active'"
    found = postgres.sql(f"SELECT run_uuid, name FROM {alive}", "team")
    names = {name for _, name in found}
    yield Row("every run is there, once", runs, len(names) if len(found) == len(names) == runs else 0, f"{len(found)}")
    ended = postgres.sql("SELECT count(*) FROM tags WHERE key = 'state' AND value = 'finished'", "team")[0][0]
    yield Row("every run is finished", runs, int(str(ended)))
    per_run = 7 + 2 * (8 + 5) + 2
    per = dict(postgres.sql("SELECT run_uuid, count(*) FROM metrics GROUP BY run_uuid", "team"))
    whole = sum(per.get(run) == per_run for run, _ in found)
    yield Row(f"every run has its {per_run} metric rows, once", runs, whole)
    kept = [path.relative_to(server.artifacts) for path in server.artifacts.rglob("*") if path.is_file()]
    right = sum(
        (server.artifacts / "1" / str(run) / "artifacts" / name).read_bytes() == content
        for run, _ in found
        for name, content in FILES.items()
        if (server.artifacts / "1" / str(run) / "artifacts" / name).is_file()
    )
    detail = f"{len(kept)} files in all, journals among them"
    yield Row("every artifact is there, whole", runs * len(FILES), right, detail)


def _deliver(uri: str, folder: Path, delivered: list[Path]) -> None:
    """As `make sync`, again and again, until it is done."""
    delivery: Delivery | None = None
    while True:
        try:
            tracker = Tracker(folder.parents[2], uri)
            tracker.store.require_answer()
            delivery = delivery or Delivery(tracker)
            delivery.deliver(folder)
            delivered.append(folder)
            return
        except TrackingError:
            time.sleep(0.2)


def _project(folder: Path, number: int) -> Path:
    """A project with one finished run, nothing of it delivered."""
    recipe = Recipe(
        data=Data(name="folder:tiny"), model=Model(name="norm_cnn"), optimizer=SGD(lr=0.05), epochs=2, batch_size=16
    )
    spec = RunSpec(experiment="team", variant="plain", seed=number, recipe=recipe, images="0123")
    design = Design(
        experiment="team",
        question="Does it learn?",
        factor=("model.norm",),
        baseline="plain",
        seeds=(number,),
        variants=("plain",),
        primary_metric="test_accuracy",
        smallest_difference_points=0.5,
    )
    events: list[Event] = made_up(spec, Circumstances(device="cpu", threads=1), design)
    end = events[-1]
    assert isinstance(end, Finished)
    listed = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in FILES.items()}
    made = folder / f"project {number}" / "runs" / spec.experiment / spec.key
    write(made, [*events[:-1], end.model_copy(update={"artifacts": listed})])
    for name, content in FILES.items():
        (made / "artifacts" / name).parent.mkdir(parents=True, exist_ok=True)
        (made / "artifacts" / name).write_bytes(content)
    return made


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]
