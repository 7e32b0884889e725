"""The audit that the other sections trust: what is whole passes, and every kind of damage is seen."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.records.journal import Journal
from harness.tracking.delivery import Delivery
from harness.tracking.tracker import Summary, Tracker
from tests.chaos.audit import audit
from tests.reports import records


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one finished run and its summary, delivered."""
    root = tmp_path_factory.mktemp("project")
    tracker = Tracker(root, f"sqlite:///{root / 'mlflow.db'}")
    record = records.record(root, "batch", 0)
    folder = root / "runs" / "norms" / record.key
    kept = Journal(folder)
    for event in record.events:
        kept.append(event)
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "weights").write_text("whole")
    Delivery(tracker).deliver(folder)
    tracker.record_summary(Summary(design=records.design(), runs=(), asked=1.0))
    return root


def change_file(root: Path) -> None:
    (path,) = root.glob("mlartifacts/norms/*/artifacts/weights")
    path.write_text("other")


def query(text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with sqlite3.connect(root / "mlflow.db") as connection:
            connection.execute(text)

    return change


ROW = "INSERT INTO metrics SELECT key, value{}, timestamp{}, run_uuid, step, is_nan FROM metrics WHERE step = 2 LIMIT 1"
DAMAGES = {
    "1 rows lost": query("DELETE FROM metrics WHERE step = 2 AND key = 'test_loss'"),
    "1 rows lost, and 1 other": query("UPDATE metrics SET value = value + 1e-9 WHERE step = 2 AND key = 'test_loss'"),
    "1 rows too many": query(ROW.format("", " + 1")),
    "status RUNNING after finished": query("UPDATE runs SET status = 'RUNNING'"),
    "epochs_recorded is 1": query("UPDATE tags SET value = '1' WHERE key = 'epochs_recorded'"),
    "weights differs": change_file,
    "0 runs": query("UPDATE runs SET lifecycle_stage = 'deleted'"),
    "norms: 3 active runs for 1 journals and a summary": query(
        "INSERT INTO runs (run_uuid, experiment_id, status, lifecycle_stage, source_type) "
        "SELECT 'twin', experiment_id, 'RUNNING', 'active', 'LOCAL' FROM runs LIMIT 1"
    ),
}


@pytest.mark.parametrize("damage", [None, *DAMAGES])
def test_every_damage_is_seen(root: Path, damage: str | None) -> None:
    """A row lost, changed or doubled, a run open, missing or doubled, a file that differs; nothing in a whole store."""
    database, before = root / "mlflow.db", (root / "mlflow.db").read_bytes()
    (weights,) = root.glob("mlartifacts/norms/*/artifacts/weights")
    try:
        if damage is not None:
            DAMAGES[damage](root)
        found = audit([root], database, root / "mlartifacts")
    finally:
        database.write_bytes(before)
        weights.write_text("whole")
    assert (found.rows, found.runs) == (36, 1)
    whole = damage is None
    assert (found.runs_held == 1) == whole
    assert (found.problems == []) == whole
    if damage is not None:
        assert damage.partition(",")[0] in found.detail
        assert (found.rows_held == found.rows) == ("rows" not in damage and damage != "0 runs")
