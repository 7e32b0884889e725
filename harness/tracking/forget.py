"""Deleting runs, in `runs/` and in MLflow: a run that is left in one of them would come back, or still be counted."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.files import write_whole
from harness.records import journal
from harness.records.holding import is_held
from harness.tracking.listing import Listed
from harness.tracking.state import begun
from harness.tracking.tracker import Tracker, failing_in_one_line
from harness.values import HarnessError, nearest

TOMBSTONE = "forgotten.json"
"""What stays of a run's folder: which attempt was deleted, and whether MLflow knows."""


def forget(tracker: Tracker, root: Path, keys: Sequence[str]) -> int:
    """Delete these runs; returns how many runs MLflow had of them. Made again by `make run`, they are new runs.

    In MLflow they are deleted as its own pages do it: they can be restored until `mlflow gc` frees their room.

    Args:
        keys: run keys, as in `runs/<experiment>/<key>` and in a report's table of runs.

    Raises:
        HarnessError: a key that neither `runs/` nor MLflow has, or a run that is being made; nothing is deleted.
        TrackingError: the store fails. What `runs/` has is deleted, and `make sync` completes it.
    """
    folders = {path.name: path for path in sorted((root / "runs").glob("*/*")) if (path / journal.NAME).is_file()}
    for key in keys:
        if key in folders and is_held(folders[key]):
            raise HarnessError(f"run {key} is being made; stop it, then delete it")
    unknown = [key for key in keys if key not in folders]
    in_store = {run.key for run in _recorded(tracker)} if unknown else set()
    for key in unknown:
        if key not in in_store:
            known = nearest(key, [*folders, *(name for name in in_store if name)])
            raise HarnessError(f"no run {key!r} in runs/ or in MLflow{known}")
    for key in keys:
        if key in folders:
            _bury(folders[key])
    with failing_in_one_line():
        tracker.store.require_answer()
        deleted = _delete(tracker, set(keys))
    for key in keys:
        if key in folders:
            _mark(folders[key], {"in_mlflow": False})
    return deleted


def complete(tracker: Tracker, root: Path) -> int:
    """Delete in MLflow what was forgotten while that did not answer; returns how many runs.

    Raises:
        TrackingError: it still does not.
    """
    left = [path.parent for path in sorted((root / "runs").glob(f"*/*/{TOMBSTONE}")) if _read(path)["in_mlflow"]]
    if not left:
        return 0
    for folder in left:
        if _attempt(folder) in (None, _read(folder / TOMBSTONE)["attempt"]):
            _bury(folder)  # killed in the middle
    with failing_in_one_line():
        deleted = _delete(tracker, {folder.name for folder in left if not (folder / journal.NAME).exists()})
    for folder in left:
        _mark(folder, {"in_mlflow": False})
    return deleted


def _bury(folder: Path) -> None:
    """The tombstone first: a process that is killed after it leaves what `complete` completes."""
    _mark(folder, {"attempt": _attempt(folder), "in_mlflow": True})
    for path in sorted(folder.iterdir(), key=lambda path: path.name != journal.NAME):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != TOMBSTONE:
            path.unlink()


def _attempt(folder: Path) -> float | None:
    started = begun(journal.read(folder))
    return started.time if started else None


def _mark(folder: Path, values: dict[str, float | bool | None]) -> None:
    write_whole(folder / TOMBSTONE, json.dumps(_read(folder / TOMBSTONE) | values).encode())


def _read(path: Path) -> dict[str, float | bool | None]:
    try:
        return {"attempt": None, "in_mlflow": False} | dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {"attempt": None, "in_mlflow": False}


def _recorded(tracker: Tracker) -> Iterator[Listed]:
    """This project's runs, of every experiment."""
    for experiment in tracker.experiments():
        for run in tracker.listing(experiment):
            if run.key and not run.deleted and tracker.store.owns(run.tags):
                yield run


def _delete(tracker: Tracker, keys: set[str]) -> int:
    runs = [run for run in _recorded(tracker) if run.key in keys]
    for run in runs:
        tracker.client.delete_run(run.id)
    return len(runs)
