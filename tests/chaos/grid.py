"""Many runs at once while workers are killed, then the command itself: every run complete, once, as in a calm grid."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.records import holding, journal
from harness.records.events import EpochDone, Finished
from tests.chaos import trials
from tests.chaos.audit import audit
from tests.chaos.table import Row

PROJECT = Path(__file__).resolve().parents[2]
NAME, EPOCHS, STOPPED_SECONDS = "grid", 3, 10.0


@dataclass(frozen=True)
class Counts:
    runs: int
    seconds: float = 2.0
    """Between two kills; the next waits besides until an epoch was recorded, for a worker takes seconds to start."""


FULL, REDUCED = Counts(runs=40), Counts(runs=4)


def rows(counts: Counts, folder: Path) -> Iterator[Row]:
    """See `Counts`."""
    calm, rough, stopped = (_project(folder / name, counts.runs) for name in ("calm", "rough", "stopped"))
    status = _start(calm).wait()
    expected = _numbers(calm)
    yield Row(
        "a calm grid of two workers ends with 0, every run finished", counts.runs, len(expected), f"status {status}"
    )
    kills, status = _disturb(rough, counts)
    found = _numbers(rough)
    detail = f"{kills} workers killed, and the command after half the runs; status {status}"
    yield Row("workers killed, then the command: every run complete, once", counts.runs, len(found), detail)
    same = sum(found.get(key) == numbers for key, numbers in expected.items())
    yield Row("their weights and scores are those of the calm grid", counts.runs, same)
    seen = audit([rough], rough / "mlflow.db", rough / "mlartifacts")
    yield Row("MLflow has each of these runs once, complete", seen.runs, seen.runs_held, seen.detail)
    yield Row("their metric rows, each once", seen.rows, seen.rows_held, seen.detail)
    seconds, status = _stop(stopped)
    detail = f"{seconds:.1f} s, status {status}"
    yield Row("Ctrl-C ends command and workers within 10 s, with 130", 1, int(status == 130 and seconds < 10), detail)
    again = _start(stopped).wait()
    same = sum(_numbers(stopped).get(key) == numbers for key, numbers in expected.items())
    yield Row("the same command then goes on to the same numbers", counts.runs, same, f"status {again}")


def _project(root: Path, runs: int) -> Path:
    trials.write_experiment(root, NAME, variants=runs, epochs=EPOCHS)
    data = root.parent / "data"
    data.mkdir(exist_ok=True)
    (root / "data").symlink_to(data)
    return root


def _start(root: Path) -> "subprocess.Popen[bytes]":
    """The command with two workers; a process group of its own, as a terminal's."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}"}
    command = [sys.executable, "-m", "tests.chaos.grid_command", str(root), "run", "--jobs=2", "--", NAME]
    with (root / "said").open("ab") as said:
        return subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )


def _disturb(root: Path, counts: Counts) -> tuple[int, int]:
    """Kill a worker that makes a run every few seconds, and once the command; returns how many, and its status."""
    kills, before, killed_at, choose = 0, 0, time.monotonic(), random.Random(7)
    command, restarted = _start(root), False
    while command.poll() is None:
        time.sleep(0.05)
        recorded = _recorded(root)
        if not restarted and len(_numbers(root)) >= counts.runs // 2:
            restarted = True
            command.kill()
            command.wait()
            command = _start(root)
        if time.monotonic() - killed_at < counts.seconds or recorded == before:
            continue
        making = [process for process in _making(root) if command.pid in [parent.pid for parent in process.parents()]]
        if making:
            choose.choice(making).kill()
            kills, killed_at, before = kills + 1, time.monotonic(), recorded
    return kills, command.returncode


def _stop(root: Path) -> tuple[float, int]:
    """Ctrl-C once two runs are under way; seconds until nothing of it is left, and the status."""
    command = _start(root)
    while len(_making(root)) < 2 and command.poll() is None:
        time.sleep(0.05)
    workers = _making(root)
    os.killpg(command.pid, signal.SIGINT)
    clock = time.monotonic()
    status = command.wait()
    psutil.wait_procs(workers, timeout=60)
    return time.monotonic() - clock, status


def _making(root: Path) -> list[psutil.Process]:
    """The processes that make a run now."""
    found = []
    for path in root.glob(f"runs/*/*/{holding.NAME}"):
        try:
            found.append(psutil.Process(holding.Holder.model_validate_json(path.read_bytes()).process))
        except (OSError, ValueError, psutil.NoSuchProcess):  # it has ended meanwhile
            continue
    return found


def _recorded(root: Path) -> int:
    journals = [journal.read(path.parent) for path in root.glob(f"runs/*/*/{journal.NAME}")]
    return sum(isinstance(event, EpochDone) for events in journals for event in events)


def _numbers(root: Path) -> dict[str, tuple[str, list[dict[str, object]]]]:
    """Run → the digest of its weights and every epoch's scores, of those that are complete, once."""
    found = {}
    for path in root.glob(f"runs/*/*/{journal.NAME}"):
        events = journal.read(path.parent)
        ends = [event for event in events if isinstance(event, Finished)]
        epochs = [
            event.model_dump(include={"epoch", "train", "test"}) for event in events if isinstance(event, EpochDone)
        ]
        if len(ends) == 1 and [epoch["epoch"] for epoch in epochs] == list(range(1, EPOCHS + 1)):
            found[path.parent.name] = ends[0].weights_sha256, epochs
    return found
