"""A tracking store to look into, and a delivery to it."""

import errno
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from harness.records.events import Event
from harness.tracking.delivery import Delivered, Delivery
from harness.tracking.store import TrackingError, Unreachable, connect
from harness.tracking.tracker import Tracker
from tests.harness.runs import begun


@pytest.fixture
def deliver(tracker: Tracker) -> Callable[[Path], Delivered | None]:
    """A process's own delivery: it has seen no run yet."""
    return Delivery(tracker).deliver


@pytest.fixture
def client(tracker: Tracker) -> MlflowClient:
    """MLflow's own client, to look at the store as its pages do."""
    return MlflowClient(tracking_uri=tracker.store.uri)


def experiment(events: list[Event]) -> str:
    return begun(events).spec.experiment


def mlflow_runs(client: MlflowClient, events: list[Event]) -> list[Run]:
    found = client.get_experiment_by_name(experiment(events))
    return list(client.search_runs([found.experiment_id])) if found else []


def rows(tracker: Tracker, events: list[Event]) -> int:
    """Metric rows in the store's own table, those of deleted runs aside."""
    joined = "metrics JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id)"
    query = f"SELECT count(*) FROM {joined} WHERE experiments.name = ? AND runs.lifecycle_stage = 'active'"
    with sqlite3.connect(tracker.store.uri.removeprefix("sqlite:///")) as connection:
        return connection.execute(query, (experiment(events),)).fetchone()[0]


def history(client: MlflowClient, run: Run, metric: str) -> list[tuple[int, float]]:
    return [(row.step, row.value) for row in client.get_metric_history(run.info.run_id, metric)]


Deliver = Callable[[Path], Delivered | None]


@contextmanager
def server(answer: bytes) -> Iterator[str]:
    """Something on a port that gives this answer to whoever calls, or none."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            caller, _ = listening.accept()
            with caller:
                caller.recv(1000)
                caller.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(10)


def refusal(root: Path, uri: str) -> str:
    """The one line, which must come at once: MLflow alone would try for 100 seconds."""
    clock = time.monotonic()
    with pytest.raises(TrackingError) as raised:
        connect(root, uri)
    assert time.monotonic() - clock < 60
    assert "\n" not in str(raised.value)
    return str(raised.value)


def silence(root: Path, uri: str) -> str:
    """What is said of a server that does not answer, which must take no longer than that."""
    opened = connect(root, uri)
    clock = time.monotonic()
    with pytest.raises(Unreachable) as raised:
        opened.require_answer()
    assert time.monotonic() - clock < 10
    assert "\n" not in str(raised.value)
    return str(raised.value)


REFUSED = f"[Errno {errno.ECONNREFUSED}] Connection refused"
