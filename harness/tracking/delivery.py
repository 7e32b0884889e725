"""One run's journal into MLflow: every fact once, whatever the store does meanwhile, whoever is killed.

A run is found by its key and attempt, which travel in the call that makes it, so an answer that was lost leaves no
second one. Facts carry their own time stamps, so a row sent twice is stored once. A receipt beside the journal saves
sending them again; it may be lost. A run is going on while somebody holds the lock in its folder.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from filelock import FileLock, Timeout

from harness.files import write_whole
from harness.records import journal
from harness.records.events import Fact, Started
from harness.tracking import rows
from harness.tracking.store import Store, TrackingError
from harness.tracking.tracker import Tracker, failing_in_one_line

if TYPE_CHECKING:
    from mlflow.entities import Run

_BATCH, _PARAMS = 1000, 100
"""MLflow's limits: metrics a call, parameters a call."""
_STATUSES = {
    "running": "RUNNING",
    "interrupted": "KILLED",
    "finished": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
}
ENDS = ("finished", "diverged", "failed")
_PATIENCE_SECONDS = 2
"""For another process that delivers the same run."""


@dataclass(frozen=True)
class Delivered:
    """What a delivery changed."""

    key: str
    facts: int
    """How many had not been delivered."""
    state: str
    """What MLflow now says of the run."""


@dataclass
class Receipt:
    """How much of a run's journal MLflow has."""

    attempt: float | None = None
    run_id: str | None = None
    facts: int = 0
    state: str | None = None

    @classmethod
    def read(cls, folder: Path) -> "Receipt":
        """What was kept beside the journal; an empty one when that is missing or torn."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return cls(**json.loads((folder / "delivered.json").read_text()))
        return cls()

    def save(self, folder: Path) -> None:
        write_whole(folder / "delivered.json", json.dumps(vars(self)).encode())


class Delivery:
    """Brings runs to a tracking store, one at a time."""

    def __init__(self, tracker: Tracker):
        self._tracker, self._client = tracker, tracker.client
        self._known: dict[Path, float] = {}
        """Folder → attempt, of the runs that this process has found or made in the store."""
        self._origin = _origin(tracker.store)

    def deliver(self, folder: Path) -> Delivered | None:
        """Deliver what the run in this folder has recorded and MLflow does not have yet; None if it had everything.

        Raises:
            TrackingError: the store fails, or another process is at it; nothing is lost, and it may be repeated.
        """
        if not (folder / journal.NAME).exists():
            return None
        try:
            with failing_in_one_line(), FileLock(folder / "delivered.lock", timeout=_PATIENCE_SECONDS):
                return self._deliver(folder)
        except TrackingError:
            self._known.pop(folder, None)  # look again: the run may have been deleted
            raise

    def _deliver(self, folder: Path) -> Delivered | None:
        facts, receipt = journal.read(folder), Receipt.read(folder)
        started = _begun(facts)
        if started is None:
            return None
        if self._known.get(folder) != started.time:
            receipt = self._find_or_create(started, receipt, facts)
            receipt.save(folder)
            self._known[folder] = started.time
        pending, state = facts[receipt.facts :], state_of(folder, facts)
        if not pending and receipt.state == state:
            return None
        assert receipt.run_id is not None
        metrics = [metric for fact in pending for metric in rows.metrics(fact)]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(receipt.run_id, metrics=metrics[start : start + _BATCH])
        if state in ENDS:
            self._complete(receipt.run_id, folder, facts, started)
        if state != receipt.state or state in ENDS:
            self._tell(receipt.run_id, state, facts[-1])
        Receipt(started.time, receipt.run_id, len(facts), state).save(folder)
        return Delivered(started.spec.key, len(pending), state)

    def _find_or_create(self, started: Started, receipt: Receipt, facts: list[Fact]) -> Receipt:
        """The receipt if the store bears it out, else one that has everything sent again."""
        run = self._find(started, receipt.run_id)
        if run is None:
            created = self._create(started)
            self._send_parameters(created, started)
            return Receipt(started.time, created, 0, "running")
        told = run.data.tags.get("state")
        whole = told not in ENDS or run.data.tags.get("epochs_recorded") == str(_epochs(facts))
        believed = (receipt.attempt, receipt.run_id, receipt.state) == (started.time, run.info.run_id, told)
        if believed and whole and receipt.facts <= len(facts):
            return receipt
        self._send_parameters(run.info.run_id, started)
        return Receipt(started.time, run.info.run_id, 0, told)

    def _find(self, started: Started, run_id: str | None) -> "Run | None":
        """The run of this attempt. This project's others at its key are deleted: attempts given up, and a second run
        that MLflow made after all when the first answer did not come in time. What another project has made of the
        same specification, in a store that both use, is not touched."""
        experiment_id = self._tracker.experiment_id(started.spec.experiment)
        found = self._tracker.search(experiment_id, f"tags.run_key = '{started.spec.key}'")
        found = [run for run in found if run.data.tags.get("origin", self._origin) == self._origin]
        own = [run for run in found if run.data.tags.get("attempt") == _attempt(started)]
        kept = next((run for run in own if run.info.run_id == run_id), own[0] if own else None)
        for run in found:
            if run is not kept:
                self._client.delete_run(run.info.run_id)
        return kept

    def _create(self, started: Started) -> str:
        spec = started.spec
        tags = {
            "kind": "run",
            "run_key": spec.key,
            "attempt": _attempt(started),
            "origin": self._origin,
            "experiment": spec.experiment,
            "variant": spec.variant,
            "seed": str(spec.seed),
            "state": "running",
            "mlflow.source.git.commit": str(started.environment.get("commit")),
            "mlflow.note.content": started.design.question,
        }
        run = self._client.create_run(
            self._tracker.experiment_id(spec.experiment),
            start_time=rows.milliseconds(started),
            tags=tags,
            run_name=f"{spec.variant} seed {spec.seed}",
        )
        return run.info.run_id

    def _send_parameters(self, run_id: str, started: Started) -> None:
        params = rows.params(started)
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS])

    def _complete(self, run_id: str, folder: Path, facts: list[Fact], started: Started) -> None:
        """What an ended run has besides its rows; the tags that make it count come last, in `_tell`."""
        if (folder / "artifacts").is_dir() and facts[-1].kind == "finished":
            self._client.log_artifacts(run_id, str(folder / "artifacts"))
        self._client.log_artifact(run_id, str(folder / journal.NAME))
        self._find(started, run_id)
        self._client.set_tag(run_id, "epochs_recorded", str(_epochs(facts)))

    def _tell(self, run_id: str, state: str, last: Fact) -> None:
        """Our own tag comes last: a delivery that was cut off before is known by it."""
        if state == "running":
            self._client.update_run(run_id, status=_STATUSES[state])
        else:
            self._client.set_terminated(run_id, _STATUSES[state], end_time=rows.milliseconds(last))
        self._client.set_tag(run_id, "state", state)


def state_of(folder: Path, facts: Sequence[Fact]) -> str:
    """What is to be said of a run: how it ended, or whether somebody is at it."""
    if facts[-1].kind in ENDS:
        return facts[-1].kind
    return "running" if is_held(folder) else "interrupted"


def lacking(folder: Path) -> bool:
    """Whether, by its receipt alone, MLflow lacks anything of the run in this folder; no store is asked."""
    facts, receipt = journal.read(folder), Receipt.read(folder)
    started = _begun(facts)
    if started is None:
        return False
    return (receipt.attempt, receipt.facts, receipt.state) != (started.time, len(facts), state_of(folder, facts))


def _begun(facts: Sequence[Fact]) -> Started | None:
    """A run that failed before it began, for want of memory say, may have begun since."""
    return next((fact for fact in facts if isinstance(fact, Started)), None)


def _origin(store: Store) -> str:
    """A project's own name, drawn once: it tells its runs from those of others in the same store."""
    path = store.root / "runs" / "origin"
    with store.lock():
        if not path.exists():
            write_whole(path, uuid4().hex.encode())
    return path.read_text()


def is_held(folder: Path) -> bool:
    """Whether a process is making the run in this folder."""
    if not (folder / "lock").exists():
        return False
    try:
        with FileLock(folder / "lock", timeout=0):
            return False
    except Timeout:
        return True


def _attempt(started: Started) -> str:
    return f"{started.time:.6f}"


def _epochs(facts: Sequence[Fact]) -> int:
    return sum(fact.kind == "epoch" for fact in facts)
