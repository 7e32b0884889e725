"""Delete runs both in `runs/` and in MLflow; a run left in one of the two would come back or still be counted.

A run's folder is emptied while its locks for making and delivering are held. The lock files stay, because a removed
lock file no longer locks. A tombstone in the folder records which attempt was deleted, and whether MLflow was told.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from harness.environment.files import write_whole
from harness.records import holding, journal
from harness.tracking.listing import Listed
from harness.tracking.state import attempt_tag, begun
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Tracker, failing_in_one_line
from harness.values import HarnessError, nearest

TOMBSTONE = "forgotten.json"
_LOCKS = ("lock", "delivered.lock", holding.NAME)
_PATIENCE_SECONDS = 2


@dataclass(frozen=True)
class Forgotten:
    """The result of a deletion."""

    folders: int
    """Number of runs deleted in `runs/`."""
    runs: int
    """Number of runs deleted in MLflow."""
    of_others: int
    """Number of runs with these keys that other projects recorded in the same store, and that are kept."""


def forget(tracker: Tracker, root: Path, keys: Sequence[str]) -> Forgotten:
    """Delete runs. If `make run` makes them again, they are new runs.

    In MLflow they are marked as deleted and can be restored until `mlflow gc` removes them.

    Args:
        keys: run keys, as in `runs/<experiment>/<key>` and in a report's table of runs.

    Raises:
        HarnessError: neither `runs/` nor MLflow has a key, or a run is being made or delivered; nothing is deleted.
        TrackingError: the store does not answer, and nothing is deleted; or it fails midway, and the message says what
            is left.
    """
    there = {path.name: path for path in sorted((root / "runs").glob("*/*")) if (path / journal.NAME).exists()}
    folders = {key: there[key] for key in keys if key in there}
    with ExitStack() as held:
        for folder in folders.values():
            _hold(folder, held)
        own, others = _in_store(tracker, set(keys))
        known = {run.key or "" for run in own}
        for key in keys:
            if key not in there and key not in known:
                names = [*there, *(run.key or "" for run in _recorded(tracker) if tracker.store.owns(run.tags))]
                raise HarnessError(f"no run {key!r} in runs/ or in MLflow{nearest(key, names)}")
        for folder in folders.values():
            _bury(folder)
        _delete(tracker, own)
        for folder in (path.parent for key in keys for path in (root / "runs").glob(f"*/{key}/{TOMBSTONE}")):
            _mark(folder, {"in_mlflow": False})
    return Forgotten(len(folders), len(own), len(others))


def complete(tracker: Tracker, root: Path) -> int:
    """Delete in MLflow the runs that were deleted in `runs/` while MLflow did not answer.

    Attempts that were started after the deletion are kept. Folders locked by another process are left for the next
    call.

    Returns:
        The number of runs deleted in MLflow.

    Raises:
        TrackingError: the store still does not answer.
    """
    left = [path.parent for path in sorted((root / "runs").glob(f"*/*/{TOMBSTONE}")) if _read(path)["in_mlflow"]]
    runs = _in_store(tracker, {folder.name for folder in left})[0] if left else []
    deleted = 0
    for folder in left:
        with ExitStack() as held:
            try:
                _hold(folder, held)
            except HarnessError:
                continue
            if _attempt(folder) in (None, _read(folder / TOMBSTONE)["attempt"]):
                _bury(folder)  # the deleting process was killed before it was done
            now = _attempt(folder)
            given_up = [
                run
                for run in runs
                if run.key == folder.name and (now is None or run.tags.get("attempt") != attempt_tag(now))
            ]
            _delete(tracker, given_up)
            _mark(folder, {"in_mlflow": False})
            deleted += len(given_up)
    return deleted


def _hold(folder: Path, held: ExitStack) -> None:
    """Lock a run's folder against being made or delivered, until `held` is closed.

    Raises:
        HarnessError: another process is making or delivering the run.
    """
    if held.enter_context(holding.hold(folder)) is None:
        raise HarnessError(f"run {folder.name} is being made; stop it, then delete it")
    try:
        held.enter_context(FileLock(folder / "delivered.lock", timeout=_PATIENCE_SECONDS))
    except Timeout as error:
        raise HarnessError(f"run {folder.name} is being delivered; wait for that, then delete it") from error


def _bury(folder: Path) -> None:
    """Write the tombstone, then empty the folder; if the process is killed in between, `complete` finishes it."""
    _mark(folder, {"attempt": _attempt(folder), "in_mlflow": True})
    for path in sorted(folder.iterdir(), key=lambda path: path.name != journal.NAME):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (TOMBSTONE, *_LOCKS):
            path.unlink()


def _attempt(folder: Path) -> float | None:
    """When the run's attempt began; None if the journal has no readable start."""
    try:
        started = begun(journal.read(folder))
    except HarnessError:
        return None
    return started.time if started else None


def _mark(folder: Path, values: dict[str, float | bool | None]) -> None:
    write_whole(folder / TOMBSTONE, json.dumps(_read(folder / TOMBSTONE) | values).encode())


def _read(path: Path) -> dict[str, float | bool | None]:
    try:
        return {"attempt": None, "in_mlflow": False} | dict(json.loads(path.read_text()))
    except OSError:
        return {"attempt": None, "in_mlflow": False}
    except (ValueError, TypeError):  # damaged: unknown whether MLflow was told
        return {"attempt": None, "in_mlflow": True}


def _recorded(tracker: Tracker) -> Iterator[Listed]:
    """The runs of all experiments in the store, including other projects' runs."""
    for experiment in tracker.experiments():
        yield from (run for run in tracker.listing(experiment) if run.key and not run.deleted)


def _in_store(tracker: Tracker, keys: set[str]) -> tuple[list[Listed], list[Listed]]:
    """The runs with these keys: this project's, and other projects'."""
    try:
        with failing_in_one_line("read"):
            tracker.store.require_answer()
            found = [run for run in _recorded(tracker) if run.key in keys]
    except TrackingError as error:
        raise TrackingError(f"{error}; nothing is deleted, do it again once it answers") from error
    own = [run for run in found if tracker.store.owns(run.tags)]
    return own, [run for run in found if run not in own]


def _delete(tracker: Tracker, runs: Iterable[Listed]) -> None:
    left = list(runs)
    try:
        with failing_in_one_line():
            while left:
                tracker.client.delete_run(left[0].id)
                del left[0]
    except TrackingError as error:
        raise TrackingError(
            f"{error}; runs/ no longer has these runs, MLflow still has {len(left)}: the same command deletes them"
        ) from error
