"""Many runs at once while a worker is killed every two seconds, then a node, then the command itself: every run is
complete, once, as in a calm grid. With worker processes, more of them than cores, and on three nodes of Ray.
"""

import importlib.util
import os
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
from tests.chaos.disturbing import WAYS, Way, disturb
from tests.chaos.table import Row

PROJECT = Path(__file__).resolve().parents[2]
NAME, EPOCHS, STOPPED_SECONDS = "grid", 4, 10.0
IMAGE_SIZE, BATCH_SIZE = 32, 128
"""Runs of a few seconds, longer than the time between two kills, of short steps."""
Numbers = dict[str, tuple[str, list[dict[str, object]]]]
"""Run → the digest of its weights, and every epoch's scores."""


@dataclass(frozen=True)
class Counts:
    runs: int
    seconds: float = 2.0
    """From one kill to the next."""
    ways: tuple[Way, ...] = WAYS


FULL, REDUCED = Counts(runs=40), Counts(runs=4)


def rows(counts: Counts, folder: Path) -> Iterator[Row]:
    """See `Counts`; Ray is left out where it is not installed."""
    calm, stopped = (_project(folder / name, counts.runs) for name in ("calm", "stopped"))
    began, status = time.monotonic(), start(calm, "--jobs=2").wait()
    expected, seconds = numbers(calm), time.monotonic() - began
    detail = f"status {status}, {seconds:.0f} s"
    yield Row("a calm grid of two workers ends with 0, every run finished", counts.runs, len(expected), detail)
    for way in counts.ways:
        if not way.on_ray or importlib.util.find_spec("ray"):
            yield from _disturbed(way, counts, _project(folder / way.name.replace(" ", "_"), counts.runs), expected)
    yield from _stopped(stopped, counts, expected)


def _disturbed(way: Way, counts: Counts, root: Path, expected: Numbers) -> Iterator[Row]:
    began = time.monotonic()
    seen = disturb(way, lambda: start(root, way.option), lambda: len(numbers(root)), counts.runs, counts.seconds)
    found, seconds = numbers(root), time.monotonic() - began
    detail = f"{seen.workers} workers and {seen.nodes} nodes killed, {seen.commands} commands; {seconds:.0f} s"
    detail += f", status {seen.status}"
    yield Row(f"{way.name}, killed all the time: every run complete, once", counts.runs, len(found), detail)
    same = sum(found.get(key) == each for key, each in expected.items())
    yield Row(f"{way.name}: weights and scores are those of the calm grid", counts.runs, same)
    kept = audit([root], root / "mlflow.db", root / "mlartifacts")
    yield Row(f"{way.name}: MLflow has each of these runs once, complete", kept.runs, kept.runs_held, kept.detail)
    yield Row(f"{way.name}: their metric rows, each once", kept.rows, kept.rows_held, kept.detail)


def _stopped(root: Path, counts: Counts, expected: Numbers) -> Iterator[Row]:
    seconds, status = _stop(root)
    detail = f"{seconds:.1f} s, status {status}"
    in_time = status == 130 and seconds < STOPPED_SECONDS
    yield Row("Ctrl-C ends command and workers within 10 s, with 130", 1, int(in_time), detail)
    again = start(root, "--jobs=2").wait()
    same = sum(numbers(root).get(key) == each for key, each in expected.items())
    yield Row("the same command then goes on to the same numbers", counts.runs, same, f"status {again}")


def _project(root: Path, runs: int) -> Path:
    trials.write_experiment(root, NAME, variants=runs, epochs=EPOCHS, image_size=IMAGE_SIZE, batch_size=BATCH_SIZE)
    data = root.parent / "data"
    data.mkdir(exist_ok=True)
    (root / "data").symlink_to(data)
    return root


def start(root: Path, option: str) -> "subprocess.Popen[bytes]":
    """The command; a process group of its own, as a terminal's."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}"}
    command = [sys.executable, "-m", "tests.chaos.grid_command", str(root), "run", option, "--", NAME]
    with (root / "said").open("ab") as said:
        return subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )


def _stop(root: Path) -> tuple[float, int]:
    """Ctrl-C once two runs are under way; seconds until nothing of it is left, and the status."""
    command = start(root, "--jobs=2")
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


def numbers(root: Path) -> Numbers:
    """Of the runs that are complete, once."""
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
