"""What is compared at the end of a run: nothing that must be equal may differ unseen."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch

from tests.chaos.ending import differences, digest, ending
from tests.chaos.tiny import Projects


def _sql(statement: str) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        with closing(sqlite3.connect(project / "mlflow.db")) as store:
            store.execute(statement)
            store.commit()

    return change


def _append(pattern: str, content: bytes) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        (path,) = project.glob(pattern)
        path.write_bytes(path.read_bytes() + content)

    return change


def _copy(pattern: str, name: str) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        (path,) = project.glob(pattern)
        shutil.copy(path, path.with_name(name))

    return change


JOURNAL = "runs/chaos/*/journal.jsonl"
AGAIN = "SELECT key, value, timestamp + 1, run_uuid, step, is_nan FROM metrics WHERE key = 'test_loss' AND step = 1"
CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a checkpoint is left": (_copy(JOURNAL, "step-000000001.ckpt"), ["files"]),
    "a failure is recorded": (_append(JOURNAL, b'{"kind":"failed","time":1,"error":"x"}\n'), ["failures"]),
    "other random state": (lambda project: (project / "state.json").write_text('{"random": "1"}'), ["state"]),
    "other weights": (_append("runs/chaos/*/artifacts/weights.safetensors", b"\0"), ["artifacts"]),
    "a row twice in MLflow": (_sql(f"INSERT INTO metrics {AGAIN}"), ["MLflow's metrics"]),
    "another value in MLflow": (
        _sql("UPDATE metrics SET value = value + 1e-12 WHERE key = 'test_loss'"),
        ["MLflow's metrics"],
    ),
    "another time in MLflow": (_sql("UPDATE metrics SET value = value + 1 WHERE key = 'train_seconds'"), []),
    "a parameter lost": (_sql("DELETE FROM params WHERE key = 'epochs'"), ["MLflow's parameters"]),
    "still running": (_sql("UPDATE runs SET status = 'RUNNING' WHERE name = 'summary'"), ["MLflow's runs"]),
    "an artifact lost in MLflow": (
        lambda project: next(project.glob("mlartifacts/chaos/*/artifacts/predictions.npz")).unlink(),
        ["MLflow's artifacts"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_difference_is_seen(projects: Projects, tmp_path: Path, change: str) -> None:
    """Each change to a finished project is seen, in the part that it changes."""
    _, whole = projects.whole_run()
    shutil.copytree(projects.folder / "whole run chaos", tmp_path / "changed", symlinks=True)
    make, parts = CHANGES[change]
    assert differences(whole, ending(tmp_path / "changed")) == []
    make(tmp_path / "changed")
    found = differences(whole, ending(tmp_path / "changed"))
    assert found == parts or found == [*parts, "MLflow's artifacts"]  # which are copies of the run's own
    assert differences(whole, ending(tmp_path / "changed"), aside=found) == []


def test_a_digest_sees_one_bit() -> None:
    """Type, shape, order and the last bit of a number count, in tensors however deep."""
    values = torch.tensor([[1.0, 2.0]])
    other = [
        {"a": [torch.tensor([[1.0, 2.0000002]])]},
        {"a": [values.double()]},
        {"a": [values.T]},
        {"b": [values]},
        {"a": [[values]]},
        {"a": [values, values]},
        {"a": [[1.0, 2.0]]},
    ]
    digests = {digest({"a": [values]}), *map(digest, other)}
    assert len(digests) == 1 + len(other)
    assert digest({"a": [values.clone()]}) == digest({"a": [values]})
