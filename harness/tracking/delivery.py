"""Deliver a run's journal to MLflow: every event exactly once, even if the store fails or processes are killed.

A run in MLflow is found by its key and attempt. Both are sent in the call that creates it, so no second run is created
if the answer is lost. Rows carry the events' time stamps, so a row sent twice is stored once. A receipt beside the
journal avoids sending events again; it may be lost. A run counts as running while its folder is locked.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from harness.records import journal
from harness.records.events import EpochDone, Event, Finished, Started
from harness.tracking import rows
from harness.tracking.changed import Changed, changed, refuse_changed
from harness.tracking.copies import Copies
from harness.tracking.listing import DIGESTS, Listed
from harness.tracking.places import Allowance
from harness.tracking.receipt import Receipt
from harness.tracking.state import ENDS, FINAL, attempt_tag, begun, epochs, run_key, state_of
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Tracker, failing_in_one_line

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_BATCH, _PARAMS = 1000, 100
"""MLflow's limits: metrics per call, parameters per call."""
_STATUSES = {
    "running": "RUNNING",
    "interrupted": "KILLED",
    "finished": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
}
DELETED = "deleted"
_PATIENCE_SECONDS = 2
"""Time to wait for another process that is delivering the same run."""


@dataclass(frozen=True)
class Delivered:
    """The result of a delivery."""

    key: str
    events: int
    """Number of events that were newly delivered."""
    state: str
    """The run's state in MLflow now; DELETED if somebody deleted it there and it was left deleted."""
    mended: tuple[str, ...] = ()
    """Delivered artifacts that were missing or damaged and have been restored from the other copy."""


class Delivery:
    """Delivers runs to a tracking store, one at a time."""

    def __init__(self, tracker: Tracker):
        self._tracker = tracker
        self._known: dict[Path, float] = {}
        """Folder → attempt, for the runs that this process has found or created in the store."""
        self._listed: dict[str, dict[str, list[Listed]]] = {}
        """Experiment → run key → its runs in the store, as listed on this process's first query. Used only to confirm
        receipts; for everything else the store is queried again."""
        self.allowed = Allowance()
        """How much may be downloaded from a server to compare artifacts by content; by default nothing."""

    def deliver(self, folder: Path, take_back: bool = True) -> Delivered | None:
        """Deliver what the run in this folder has recorded and MLflow lacks; returns None if nothing was missing.

        Args:
            take_back: restore a run that somebody deleted in MLflow; if False, such a run is left alone.

        Raises:
            TrackingError: the store fails, or another process is delivering the run. Nothing is lost, and the delivery
                can be repeated.
        """
        if not (folder / journal.NAME).is_file():
            return None
        try:
            with failing_in_one_line(), FileLock(folder / "delivered.lock", timeout=_PATIENCE_SECONDS):
                return self._deliver(folder, take_back)
        except TrackingError:
            self._known.pop(folder, None)  # look again: the run may have been deleted
            raise

    def _deliver(self, folder: Path, take_back: bool) -> Delivered | None:
        receipt = Receipt.read(folder)
        if receipt.covers(folder) and self._is_whole(folder, receipt):
            return None
        events = journal.read(folder)
        started = begun(events)
        if started is None:
            if not events and receipt.state in FINAL:
                raise changed(folder, receipt.run_id)
            return None
        if self._known.get(folder) != started.time:
            found = self._find(run_key(folder, started.spec), started, receipt)
            if found is not None and found.deleted:
                if not take_back:
                    return Delivered(run_key(folder, started.spec), 0, DELETED)
                self._client.restore_run(found.id)
            receipt = self._resume(folder, found, started, receipt, events)
            receipt.save(folder)
            self._known[folder] = started.time
        return self._send(folder, started, receipt, events)

    def _send(self, folder: Path, started: Started, receipt: Receipt, events: list[Event]) -> Delivered | None:
        pending, state, run_id = events[receipt.events :], state_of(folder, events), receipt.run_id
        assert run_id is not None
        copies = self._copies(folder, receipt, events[-1]) if state in ENDS else None
        if not pending and receipt.state == state and (copies is None or copies.are_whole()):
            return None
        metrics = [metric for event in pending for metric in rows.metrics(event)]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
        if copies is not None:
            self._complete(run_id, run_key(folder, started.spec), copies, events, started)
        if state != receipt.state or state in ENDS:
            self._tell(run_id, state, events[-1])
        journal_as_sent, files = (copies.journal, copies.sent) if copies else (None, None)
        now = replace(receipt, events=len(events), state=state, epochs=epochs(events))
        replace(now, journal=journal_as_sent, artifacts=files).save(folder)
        return Delivered(run_key(folder, started.spec), len(pending), state, copies.mended if copies else ())

    def _is_whole(self, folder: Path, receipt: Receipt) -> bool:
        """True if the receipt of a completely delivered run agrees with the store's listing and with the files."""
        run = next((run for run in self._runs(receipt.experiment, receipt.key) if run.id == receipt.run_id), None)
        if run is None or run.deleted or (run.state, run.epochs) != (receipt.state, receipt.epochs):
            return False
        copies = Copies(self._tracker, run, folder, receipt.artifacts, {}, self.allowed)
        whole = copies.are_whole()
        if whole and copies.by_content and self.allowed.bytes:
            replace(receipt, compared=time.time()).save(folder)
        return whole

    def _runs(self, experiment: str, key: str) -> list[Listed]:
        if experiment not in self._listed:
            runs = self._listed[experiment] = {}
            for run in self._tracker.listing(experiment):
                runs.setdefault(run.key or "", []).append(run)
        return self._listed[experiment].get(key, [])

    def _copies(self, folder: Path, receipt: Receipt, end: Event) -> Copies:
        assert receipt.run_id is not None
        written = end.artifacts if isinstance(end, Finished) else {}
        return Copies(
            self._tracker, self._tracker.run(receipt.run_id), folder, receipt.artifacts, written, self.allowed
        )

    def _resume(
        self, folder: Path, run: Listed | None, started: Started, receipt: Receipt, events: list[Event]
    ) -> Receipt:
        """The receipt if it agrees with the store; otherwise an empty one, so that everything is sent again."""
        experiment, key = started.spec.experiment, run_key(folder, started.spec)
        begun = Receipt(started.time, None, 0, "running", experiment, key)
        if run is None:
            created = self._create(key, started)
            self._send_parameters(created, started)
            return replace(begun, run_id=created)
        if run.state in FINAL and state_of(folder, events) not in ENDS:
            raise Changed(
                f"the journal of run {key} has lost its end, since MLflow has the run as {run.state}; put "
                f"{journal.NAME} back from the artifacts of run {run.id}, or remove the run's folder and make it again"
            )
        refuse_changed(folder, run, started, receipt)
        whole = run.state not in ENDS or run.epochs == epochs(events)
        believed = (receipt.attempt, receipt.run_id, receipt.state) == (started.time, run.id, run.state)
        if believed and whole and receipt.events <= len(events):
            return replace(receipt, experiment=experiment, key=key)
        self._send_parameters(run.id, started)
        artifacts = receipt.artifacts if receipt.attempt == started.time else None
        return replace(begun, run_id=run.id, state=run.state, artifacts=artifacts)

    def _find(self, key: str, started: Started, receipt: Receipt, ended: str | None = None) -> Listed | None:
        """Find the run of this attempt in the store; a run that somebody deleted is found by its id in the receipt.

        Other runs of this project with the same key are deleted: abandoned attempts, and duplicates that MLflow created
        when an answer was late. A finished one stays until this run has `ended` as finished too. Runs that another
        project recorded in the same store are not changed.
        """
        listed = self._tracker.listing(started.spec.experiment, key)
        found = [run for run in listed if self._tracker.store.owns(run.tags)]
        own = [run for run in found if run.tags.get("attempt") == attempt_tag(started.time)]
        alive = [run for run in own if not run.deleted]
        kept = next((run for run in alive if run.id == receipt.run_id), alive[0] if alive else None)
        for run in found:
            given_up = run in own or run.state != "finished" or ended == "finished"
            if run is not kept and not run.deleted and given_up:
                self._client.delete_run(run.id)
        return kept or next((run for run in own if run.id == receipt.run_id), None)

    def _create(self, key: str, started: Started) -> str:
        spec = started.spec
        tags = {
            "kind": "run",
            "run_key": key,
            "attempt": attempt_tag(started.time),
            "origin": self._tracker.store.origin.name,
            "experiment": spec.experiment,
            "variant": spec.variant,
            "seed": str(spec.seed),
            "state": "running",
            "mlflow.source.git.commit": str(started.environment.get("commit")),
            "mlflow.note.content": rows.fitting(started.design.question),
        }
        run = self._client.create_run(
            self._tracker.experiment_id(spec.experiment),
            start_time=rows.milliseconds(started),
            tags=tags,
            run_name=_title(started),
        )
        return run.info.run_id

    def _send_parameters(self, run_id: str, started: Started) -> None:
        params = rows.params(started)
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS])

    def _complete(self, run_id: str, key: str, copies: Copies, events: list[Event], started: Started) -> None:
        """Deliver what an ended run has besides its rows; `_tell` then sets the tags that mark it as complete."""
        copies.bring(with_artifacts=events[-1].kind == "finished")
        self._find(key, started, Receipt(run_id=run_id), ended=events[-1].kind)
        if events[-1].kind == "finished":
            last = next((event for event in reversed(events) if isinstance(event, EpochDone)), None)
            self._client.update_run(run_id, name=_title(started, last))
        self._client.set_tag(run_id, DIGESTS, json.dumps(copies.digests))
        self._client.set_tag(run_id, "epochs_recorded", str(epochs(events)))

    def _tell(self, run_id: str, state: str, last: Event) -> None:
        """Set the run's state in MLflow; the `state` tag is set last, so an incomplete delivery can be recognised."""
        if state == "running":
            self._client.update_run(run_id, status=_STATUSES[state])
        else:
            self._client.set_terminated(run_id, _STATUSES[state], end_time=rows.milliseconds(last))
        self._client.set_tag(run_id, "state", state)

    @property
    def _client(self) -> "MlflowClient":
        return self._tracker.client


def _title(started: Started, last: EpochDone | None = None) -> str:
    """A run's name in MLflow's tables: its variant, seed, the result of its last epoch, and its data set."""
    result = [f"{last.test.accuracy:.1%}"] if last else []
    return " · ".join([f"{started.spec.variant} seed {started.spec.seed}", *result, started.data.label])
