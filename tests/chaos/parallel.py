"""Many commands begun at the same moment on a store that is not there yet: a SQLite file, a project's first runs."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import trials
from tests.chaos.audit import audit
from tests.chaos.table import Row


@dataclass(frozen=True)
class Counts:
    """How much is tried."""

    processes: int
    variants: int
    """Of each experiment, each made by a process of its own; the experiments follow."""


FULL = Counts(processes=40, variants=5)
REDUCED = Counts(processes=4, variants=2)


def rows(counts: Counts, folder: Path) -> Iterator[Row]:
    """All processes wait for each other, then open the store at once."""
    root, database = folder / "project", folder / "project" / "mlflow.db"
    gate, processes = folder / "gate", []
    gate.mkdir(parents=True)
    for number in range(counts.processes):
        experiment, variant = divmod(number, counts.variants)
        name = f"parallel{experiment}"
        if variant == 0:
            trials.write_experiment(root, name, counts.variants)
        uri = f"sqlite:///{database}"
        processes.append(trials.start(root, uri, "run", f"--variants=v{variant}", "--", name, gate=gate))
    trials.open_gate(gate, counts.processes)
    exits = [trials.status(process) for process in processes]
    good, said = exits.count(0), trials.said(root).splitlines()
    errors = "; ".join(line for line in said if line.startswith(("error", "warning")) or "Error" in line)[:300]
    yield Row("processes begun at once on a fresh SQLite store end with 0", counts.processes, good, errors)
    found = audit([root], database, root / "mlartifacts")
    yield Row("their runs: each in its own experiment, once, complete", counts.processes, found.runs_held, found.detail)
    yield Row("their metric rows, each once", found.rows, found.rows_held, found.detail)
    broken = _broken(database, -(-counts.processes // counts.variants))
    yield Row("the store is whole: one schema, no experiment twice", 1, int(not broken), broken)


def _broken(database: Path, experiments: int) -> str:
    """What is wrong with the store itself; nothing if it is whole."""
    with closing(sqlite3.connect(database)) as connection:
        integrity = connection.execute("PRAGMA integrity_check").fetchall()
        versions = connection.execute("SELECT count(*) FROM alembic_version").fetchone()[0]
        names = [name for (name,) in connection.execute("SELECT name FROM experiments ORDER BY name")]
        elsewhere = connection.execute("SELECT count(*) FROM runs WHERE experiment_id = 0").fetchone()[0]
    expected = sorted(["Default", *(f"parallel{number}" for number in range(experiments))])
    problems = {
        f"integrity: {integrity}": integrity != [("ok",)],
        f"{versions} schema versions": versions != 1,
        f"experiments: {names}": names != expected,
        f"{elsewhere} runs in Default": elsewhere != 0,
    }
    return "; ".join(problem for problem, there in problems.items() if there)
