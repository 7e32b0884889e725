"""Schedules uploads to MLflow: best effort while runs go on, retried at the end of a command and by `make sync`.

Everything is written to disk first: journals, and `runs/<experiment>/plan.json` with the plan. A store that is down,
slow or hanging therefore loses nothing, and delays a run by only a small share of its time.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from harness.environment.files import write_whole
from harness.records import journal
from harness.records.holding import is_held
from harness.tracking import store
from harness.tracking.address import is_server
from harness.tracking.changed import Changed
from harness.tracking.delivery import DELETED, Delivered, Delivery
from harness.tracking.forget import complete
from harness.tracking.places import Allowance
from harness.tracking.receipt import Receipt, stamp
from harness.tracking.state import lacking
from harness.tracking.store import TrackingError, Unreachable
from harness.tracking.tracker import Summary, Tracker, failing_in_one_line

_SHARE = 20
"""While runs go on, each delivery is followed by a pause this many times as long."""
_AT_ONCE_SECONDS = 1.0
"""Time limit of one round of deliveries while runs go on; the other folders wait for the next round."""
_ATTEMPTS, _PAUSE_SECONDS, _VAIN_SECONDS = 3, 1.0, 60.0
"""At the end: attempts per folder, pause between them, and time after which failing attempts are given up."""
_COMPARED_BYTES = 1 << 30
"""Maximum number of bytes that one `make sync` downloads from a server to compare artifacts by content, starting with
those not compared for longest; the others are compared by size."""
_NAMED = 10
"""How many of several runs with the same problem are named."""
_PLAN = "plan.json"

Say = Callable[[str], None]


class Courier:
    """Delivers the runs of one `make run` to a tracking store, by their folders."""

    def __init__(self, tracker: Tracker, root: Path, say: Say):
        self._tracker, self._root, self._say = tracker, root, say
        self._delivery = Delivery(tracker)
        self._waiting: dict[Path, None] = {}
        """Folders with undelivered events, the most recent last."""
        self._making: set[Path] = set()
        """Folders of the runs that this command makes; only these are restored if somebody deleted them in MLflow."""
        self._asked: dict[str, float] = {}
        """Experiment → the number of this command's plan."""
        self._plans: dict[Path, tuple[int, int]] = {}
        """Folder → size and modification time of its plan that the store has."""
        self._not_before = 0.0
        self._warned = False

    def begin(self, summary: Summary) -> None:
        """Save the plan with a number above all earlier ones, and mark runs whose process died as interrupted.

        Raises:
            OSError: the plan cannot be written.
        """
        name = summary.design.experiment
        folder = self._root / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        began, last = time.monotonic(), self._last_asked(name)
        with self._tracker.store.project_lock():  # so that two commands started at once get different numbers
            self._asked[name] = math.floor(max(last or 0.0, _asked(folder / _PLAN))) + 1.0
            numbered = summary.model_copy(update={"asked": self._asked[name]})
            write_whole(folder / _PLAN, numbered.model_dump_json(indent=2).encode())
        died = [each for each in _run_folders(self._root) if _untold(each) and not is_held(each)]
        self._waiting = dict.fromkeys([*died, folder])
        if last is None:
            self._pause_since(began)
        else:
            self._carry()

    def tell(self, folder: Path, now: bool = False) -> None:
        """Schedule the delivery of new events in this folder, soon or `now`. A failing store is reported once."""
        self._making.add(folder)
        self._waiting.pop(folder, None)
        self._waiting[folder] = None
        if now or time.monotonic() >= self._not_before:
            self._carry()

    def is_latest(self, summary: Summary) -> bool:
        """True if no later command has planned anything else for this experiment."""
        name = summary.design.experiment
        kept = _kept(self._root / "runs" / name / _PLAN)
        if kept is None or kept.asked <= self._asked[name]:
            return True
        return kept.model_copy(update={"asked": summary.asked}) == summary

    def finish(self, folders: Iterable[Path]) -> list[Path]:
        """Deliver everything that is left, with retries; returns the folders whose events MLflow still lacks."""
        asked = [*(folder for folder in self._waiting if (folder / _PLAN).exists()), *folders]
        self._making.update(asked)
        left = self._sweep(dict.fromkeys([*asked, *self._waiting]), lambda delivered: None)
        if (error := self._say_changed(left)) is not None:
            self._warn(error)
        return [folder for folder in asked if folder in left and ((folder / _PLAN).exists() or lacking(folder))]

    def sync(self) -> int:
        """Deliver all journals and print what changed; returns the number of folders that could not be delivered."""
        runs, changed, deleted = _run_folders(self._root), 0, list[str]()

        def tell(delivered: Delivered) -> None:
            nonlocal changed
            if delivered.state == DELETED:
                deleted.append(delivered.key)
                return
            changed += 1
            mended = f", put back: {', '.join(delivered.mended)}" if delivered.mended else ""
            self._say(f"{delivered.key}: {delivered.events} events delivered, {delivered.state}{mended}")

        plans = [path.parent for path in sorted((self._root / "runs").glob(f"*/{_PLAN}"))]
        if is_server(self._tracker.store.uri):
            self._delivery.allowed = Allowance(_COMPARED_BYTES)
            runs.sort(key=lambda folder: Receipt.read(folder).compared)
        left = self._sweep([*plans, *runs], tell)
        with suppress(TrackingError):  # completed by a later call
            complete(self._tracker, self._root)
        if deleted:
            self._say(f"{len(deleted)} deleted in MLflow and not restored (make run does): {', '.join(deleted)}")
        if self._delivery.allowed.refused:
            self._say(f"{self._delivery.allowed.refused} runs' artifacts on the server were compared by size alone")
        error = self._say_changed(left)
        rest = (f", {len(left)} not delivered" if left else "") + (f": {error}" if error else "")
        self._say(f"{len(runs)} runs here: {changed} brought up to date{rest}")
        return len(left)

    def _last_asked(self, experiment: str) -> float | None:
        """The number of the last plan in the store, 0 if there is none; None if the store does not answer in time."""
        try:
            with store.hurried():
                self._tracker.store.require_answer()
                return self._tracker.last_asked(experiment)
        except TrackingError as error:
            self._warn(error)
            return None

    def _carry(self) -> None:
        began = time.monotonic()
        try:
            with store.hurried():
                self._tracker.store.require_answer()
                for folder in reversed(list(self._waiting)):
                    self._deliver(folder)
                    del self._waiting[folder]
                    if time.monotonic() - began > _AT_ONCE_SECONDS:
                        break
        except TrackingError as error:
            self._warn(error)
        self._pause_since(began)

    def _pause_since(self, began: float) -> None:
        self._not_before = time.monotonic() + _SHARE * (time.monotonic() - began)

    def _say_changed(self, left: Mapping[Path, TrackingError]) -> TrackingError | None:
        """Name the runs whose journals were changed after delivery; returns the last other error."""
        changed = [error for error in left.values() if isinstance(error, Changed)]
        for error in changed[:_NAMED]:
            self._say(str(error))
        if len(changed) > _NAMED:
            self._say(f"{len(changed) - _NAMED} further journals were changed")
        return next((error for error in reversed(list(left.values())) if not isinstance(error, Changed)), None)

    def _sweep(self, folders: Iterable[Path], tell: Callable[[Delivered], None]) -> Mapping[Path, TrackingError]:
        """Try each folder several times; returns those that could not be delivered, each with its error."""
        waiting, problems, last, vain = list(folders), dict[Path, TrackingError](), TrackingError(""), 0.0
        for attempt in range(1, _ATTEMPTS + 1):
            for folder in [each for each in waiting if not isinstance(problems.get(each), Changed)]:
                began = time.monotonic()
                try:
                    self._tracker.store.require_answer()
                    delivered = self._deliver(folder)
                    waiting.remove(folder)
                    if delivered:
                        tell(delivered)
                except TrackingError as error:
                    problems[folder] = last = error
                    vain += time.monotonic() - began
                    if isinstance(error, Unreachable) or vain > _VAIN_SECONDS:
                        break
            if vain > _VAIN_SECONDS or all(isinstance(problems.get(each), Changed) for each in waiting):
                break
            if attempt < _ATTEMPTS:
                time.sleep(_PAUSE_SECONDS)
        return {folder: problems.get(folder, last) for folder in waiting}

    def _deliver(self, folder: Path) -> Delivered | None:
        if not (folder / _PLAN).exists():
            return self._delivery.deliver(folder, take_back=folder in self._making)
        if self._plans.get(folder) != stamp(folder / _PLAN):
            with failing_in_one_line(f"given {folder.name}/{_PLAN}"):
                now = stamp(folder / _PLAN)
                self._tracker.record_summary(Summary.model_validate_json((folder / _PLAN).read_bytes()))
                self._plans[folder] = now
        return None

    def _warn(self, error: TrackingError) -> None:
        if not self._warned:
            self._warned = True
            later = "" if isinstance(error, Changed) else "; events are kept in runs/ and delivered later"
            self._say(f"warning: {error}{later}")


def _run_folders(root: Path) -> list[Path]:
    return [path.parent for path in sorted((root / "runs").glob(f"*/*/{journal.NAME}")) if path.is_file()]


def _asked(plan: Path) -> float:
    """The number of a plan; 0 if there is none or it cannot be read."""
    kept = _kept(plan)
    return kept.asked if kept else 0.0


def _kept(plan: Path) -> Summary | None:
    try:
        return Summary.model_validate_json(plan.read_bytes())
    except (OSError, ValueError):
        return None


def _untold(folder: Path) -> bool:
    """True if MLflow knows nothing of the run, or was last told that it is running."""
    return Receipt.read(folder).state in ("running", None)
