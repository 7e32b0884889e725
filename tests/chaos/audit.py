"""Compares what a store's own tables and files hold with the journals it was fed from, without the code in between."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from harness.records import journal
from harness.records.events import EpochDone, Event, Finished

_STATUS = {"finished": "FINISHED", "epoch": "KILLED", "started": "KILLED"}
_Cell = tuple[str, int, int, float]
"""Metric, milliseconds, step, value."""


@dataclass
class Audit:
    """How many metric rows and runs there should be, how many there are, exactly once; and what is wrong."""

    rows: int = 0
    rows_held: int = 0
    runs: int = 0
    runs_held: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def detail(self) -> str:
        return "; ".join(self.problems[:3])


def audit(roots: list[Path], database: Path, artifacts: Path | None = None) -> Audit:
    """Every journal under runs/ of these projects against the active runs of its experiment; nothing else is there."""
    found = Audit()
    with closing(sqlite3.connect(database)) as connection:
        for folder in [path.parent for root in roots for path in sorted(root.glob(f"runs/*/*/{journal.NAME}"))]:
            _audit_run(found, connection, folder, artifacts)
        for (name,) in connection.execute("SELECT name FROM experiments WHERE name != 'Default'").fetchall():
            here = [root / "runs" / name for root in roots if (root / "runs" / name).exists()]
            kept = sum(len(list(folder.glob(f"*/{journal.NAME}"))) for folder in here)
            active = connection.execute(f"{_ACTIVE} AND e.name = ?", (name,)).fetchall()
            if here and len(active) != kept + 1:  # the summary
                found.problems.append(f"{name}: {len(active)} active runs for {kept} journals and a summary")
                found.runs_held -= 1
    return found


_ACTIVE = """SELECT r.run_uuid, r.status FROM runs r JOIN experiments e USING (experiment_id)
             WHERE r.lifecycle_stage = 'active'"""


def _audit_run(found: Audit, connection: sqlite3.Connection, folder: Path, artifacts: Path | None) -> None:
    events, key = journal.read(folder), folder.name
    expected = Counter(cell for event in events for cell in _cells(event))
    own = f"{_ACTIVE} AND e.name = ? AND r.run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'run_key' AND value = ?)"
    runs = connection.execute(own, (folder.parent.name, key)).fetchall()
    problems = [] if len(runs) == 1 else [f"{len(runs)} runs"]
    there: Counter[_Cell] = Counter()
    for run_id, status in runs:
        there += Counter(
            connection.execute("SELECT key, timestamp, step, value FROM metrics WHERE run_uuid = ?", (run_id,))
        )
        tags = dict(connection.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,)))
        if status != _STATUS[events[-1].kind]:
            problems.append(f"status {status} after {events[-1].kind}")
        if events[-1].kind == "finished":
            problems += _unlike(tags, {"state": "finished", "epochs_recorded": str(_epochs(events))})
            problems += _files(folder, artifacts, run_id)
    lost, added = expected - there, there - expected
    problems += [f"{lost.total()} rows lost"] * bool(lost) + [f"{added.total()} rows too many"] * bool(added)
    found.rows += expected.total()
    found.rows_held += expected.total() - lost.total() - added.total()
    found.runs += 1
    found.runs_held += not problems
    found.problems += [f"{key}: {problem}" for problem in problems]


def _cells(event: Event) -> Iterator[_Cell]:
    when = int(event.time * 1000)
    if isinstance(event, EpochDone):
        values = {"train_loss": event.train.loss, "train_accuracy": event.train.accuracy}
        values |= {"test_loss": event.test.loss, "test_accuracy": event.test.accuracy}
        values |= {name: getattr(event, name) for name in ("train_seconds", "evaluate_seconds", "images_per_second")}
        yield from ((name, when, event.epoch, value) for name, value in (values | event.system).items())
        first = event.step - len(event.lrs) + 1
        yield from (("learning_rate", when, step, rate) for step, rate in enumerate(event.lrs, first))
    elif isinstance(event, Finished):
        yield "total_train_seconds", when, 0, event.train_seconds
        yield "peak_memory_megabytes", when, 0, event.peak_memory_bytes / 1e6


def _epochs(events: list[Event]) -> int:
    return sum(isinstance(event, EpochDone) for event in events)


def _unlike(there: dict[str, str], expected: dict[str, str]) -> list[str]:
    return [f"{name} is {there.get(name)}" for name, value in expected.items() if there.get(name) != value]


def _files(folder: Path, artifacts: Path | None, run_id: str) -> list[str]:
    """Artifacts that the store lacks or has otherwise."""
    if artifacts is None:
        return []
    (place,) = artifacts.glob(f"*/{run_id}/artifacts")
    here = {folder / journal.NAME: place / journal.NAME}
    here |= {
        path: place / path.relative_to(folder / "artifacts")
        for path in (folder / "artifacts").rglob("*")
        if path.is_file()
    }
    return [f"{a.name} differs" for a, b in here.items() if not b.exists() or a.read_bytes() != b.read_bytes()]
