"""How a run ended, as values that can be compared: all that is promised to be equal, nothing that a clock decides.

`record` notes in the attempt's own process what the product does not keep once a run is whole: the optimiser's and the
random generators' state after the last step.
"""

import hashlib
import json
import sqlite3
import sys
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

import harness.execution.run
import harness.records.checkpoint
from harness.records import journal
from harness.records.checkpoint import load_latest
from harness.records.events import Event, Finished
from harness.training.loop import Learner

CLOCK = frozenset({"time", "seconds", "train_seconds", "evaluate_seconds", "images_per_second", "peak_memory_bytes"})
"""Fields of events that say how long something took, or what the machine was doing."""
Ending = dict[str, Any]


def record(folder: Path) -> None:
    """From now on this process notes every checkpoint saved, and the state once training is over, in `folder`."""
    train, save = harness.execution.run.train, harness.records.checkpoint.save

    def recorded_train(learner: Learner, *rest: Any) -> Iterator[Any]:
        yield from train(learner, *rest)
        (state,) = learner.states
        parts = {name: digest(part) for name, part in state.state_dict().items() if name not in CLOCK}
        _write(folder / "state.json", parts)

    def recorded_save(where: Path, state: dict[str, Any], step: int, key: str) -> Path:
        path = save(where, state, step, key)
        _write(folder / "saved.json", step)
        return path

    harness.execution.run.train = recorded_train
    harness.records.checkpoint.save = recorded_save


def digest(value: Any) -> str:
    """SHA-256 of plain data and tensors, bit for bit."""
    sha = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            add((str(part.dtype), tuple(part.shape)))
            sha.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(part, dict):
            for item in part.items():
                add(item)
        elif isinstance(part, list | tuple):
            sha.update(b"%d:" % len(part))
            for item in part:
                add(item)
        else:
            sha.update(repr(part).encode() + b";")

    add(value)
    return sha.hexdigest()


def ending(folder: Path) -> Ending:
    """What the run in this project's folder has come to; `failures` apart, equal for any way to the same end."""
    (run,) = (path.parent for path in (folder / "runs").glob("*/*/lock"))
    events = journal.read(run)
    files = {str(path.relative_to(run)): path for path in sorted(run.rglob("*")) if path.is_file()}
    artifacts = {name.removeprefix("artifacts/"): path for name, path in files.items() if name.startswith("artifacts/")}
    kept = _read(folder / "state.json")
    return {
        "state": kept,
        "weights": [event.weights_sha256 for event in events if isinstance(event, Finished)],
        "journal": [_row(event) for event in events if event.kind != "failed"],
        "first event": events[0].kind,
        "failures": sum(event.kind == "failed" for event in events),
        "files": sorted(set(files) - {"traceback.txt"}),  # it stays, for whoever wants to know what went wrong
        "artifacts": _hashes(artifacts),
        **_tracked(folder, artifacts | {journal.NAME: run / journal.NAME}),
    }


def differences(one: Ending, other: Ending, aside: Collection[str] = ()) -> list[str]:
    """The parts in which two endings are not equal."""
    return [part for part in one if part not in aside and one[part] != other[part]]


def last_checkpoint_is_good(folder: Path) -> bool:
    """Whether the last checkpoint that was saved, or a newer one, can be loaded; or the run needs none any more."""
    saved = _read(folder / "saved.json")
    (run,) = (path.parent for path in (folder / "runs").glob("*/*/lock")) if saved else (None,)
    if run is None or harness.execution.run.ended(journal.read(run)):
        return True
    loaded = load_latest(run, run.name, at_most=sys.maxsize)
    return loaded is not None and loaded["step"] >= saved


def _tracked(folder: Path, sent: dict[str, Path]) -> Ending:
    """What MLflow's own tables and files hold; `sent`: what should have reached it as artifacts."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        runs = store.execute(
            "SELECT kind.value, state.value, status, runs.run_uuid FROM runs "
            "LEFT JOIN tags kind ON kind.run_uuid = runs.run_uuid AND kind.key = 'kind' "
            "LEFT JOIN tags state ON state.run_uuid = runs.run_uuid AND state.key = 'state' "
            "WHERE lifecycle_stage = 'active' ORDER BY 1, 2, 3"
        ).fetchall()
        made = [run_id for kind, *_, run_id in runs if kind == "run"]
        one_of = f"run_uuid IN ({', '.join('?' * len(made))})"
        rows = f"SELECT key, step, value FROM metrics WHERE {one_of} ORDER BY 1, 2, 3"
        metrics = store.execute(rows, made).fetchall()
        params = store.execute(f"SELECT key, value FROM params WHERE {one_of} ORDER BY 1, 2", made).fetchall()
    stored = (path for run_id in made for path in folder.glob(f"mlartifacts/*/{run_id}/artifacts"))
    files = {str(path.relative_to(root)): path for root in stored for path in root.rglob("*") if path.is_file()}
    return {
        "MLflow's runs": [run[:3] for run in runs],
        "MLflow's metrics": [(key, step, None if _by_the_clock(key) else value) for key, step, value in metrics],
        "MLflow's parameters": params,
        "MLflow's artifacts": [] if _hashes(files) == _hashes(sent) else sorted(files),
    }


def _by_the_clock(metric: str) -> bool:
    return metric in CLOCK or metric.startswith("system/") or metric in ("total_train_seconds", "peak_memory_megabytes")


def _row(event: Event) -> dict[str, Any]:
    return event.model_dump(mode="json", exclude=set(CLOCK | {"system"}))


def _hashes(files: dict[str, Path]) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(files.items())}


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def _write(path: Path, value: Any) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)
