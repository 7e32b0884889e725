"""What MLflow has of an experiment: its runs, and a summary run that says what was asked. Reports read from here.

Runs get there by `delivery`. Only this room imports MLflow.
"""

import atexit
import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from harness.plans.experiment import Design
from harness.plans.looks import Look
from harness.plans.tuning import Tuned
from harness.records import journal
from harness.records.events import Event
from harness.tracking import rows, store
from harness.tracking.listing import Listed, listed, listing, local_folder, newest
from harness.tracking.receipt import sha256
from harness.values import HarnessError, first_line

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


class Damaged(store.TrackingError):
    """An artifact of one run is missing or is not what was delivered; the store itself works."""


class PlannedRun(BaseModel):
    key: str
    variant: str
    seed: int


class Summary(BaseModel):
    """What was last asked of an experiment: its design and its runs."""

    design: Design
    runs: tuple[PlannedRun, ...]
    asked: float = 0.0
    """The greatest counts, in whatever order summaries arrive: one more than any that was seen when this was asked. No
    clock decides; old summaries have the seconds since 1970 here, from which the count goes on."""
    looks: tuple[Look, ...] = ()
    """Every look at the results so far, in their order."""
    tuned: Tuned | None = None
    """The trials from which the recipes' tuned values come."""


@dataclass(frozen=True)
class Recorded:
    """A run as MLflow has it."""

    id: str
    state: str
    """The tag: running, interrupted, finished, diverged or failed."""
    epochs: int | None
    """How many epochs were delivered when the run ended; None while it has not."""


@contextlib.contextmanager
def failing_in_one_line(what: str = "written") -> Iterator[None]:
    """Whatever MLflow raises becomes a TrackingError; its libraries raise far more than its own exceptions."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        raise store.TrackingError(f"MLflow cannot be {what}: {first_line(error)}") from error


@functools.cache
def _downloads() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="harness-artifacts-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Tracker:
    """A tracking store, by its URI: see `store.connect`, also for what it raises.

    Every method raises TrackingError, in one line, when the store fails.
    """

    def __init__(self, root: Path, uri: str | None = None):
        self.store = store.connect(root, uri)
        self._experiments: dict[str, str] = {}
        self._seen: dict[str, Listed] = {}
        """MLflow run id → the run, of those that were listed."""

    @property
    def client(self) -> "MlflowClient":
        return self.store.client

    @failing_in_one_line("read")
    def experiments(self) -> list[str]:
        """The names of all that are recorded."""
        return [each.name for each in self.client.search_experiments() if each.name != "Default"]

    @failing_in_one_line()
    def experiment_id(self, name: str) -> str:
        """The MLflow experiment of that name, made once; one that was deleted is taken back."""
        if name not in self._experiments:
            found = self.client.get_experiment_by_name(name)
            if found and found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            self._experiments[name] = found.experiment_id if found else self._create_experiment(name)
        return self._experiments[name]

    def _create_experiment(self, name: str) -> str:
        shown_as = {"mlflow.experimentKind": "custom_model_development"}  # the UI's pages for training, not for LLMs
        with self.store.lock():
            found = self.client.get_experiment_by_name(name)  # by another process, meanwhile
            if found:
                return found.experiment_id
            try:
                return self.client.create_experiment(name, self.store.artifact_location(name), tags=shown_as)
            except Exception:
                found = self.client.get_experiment_by_name(name)  # by another machine, on a server
                if found is None:
                    raise
                return found.experiment_id

    @failing_in_one_line("read")
    def listing(self, experiment: str, key: str | None = None) -> list[Listed]:
        """What the store has of an experiment, of one run key if that is given, the latest begun first: in one
        question. Deleted runs are listed too, and runs that are not ours."""
        found = listing(self.store, self.experiment_id(experiment), key)
        self._seen.update((run.id, run) for run in found)
        return found

    @failing_in_one_line()
    def record_summary(self, summary: Summary) -> str:
        """Write what was asked of an experiment into its summary run, unless that has it; returns that run's id."""
        name = summary.design.experiment
        experiment_id, tags = self.experiment_id(name), {"kind": "summary", "experiment": name}
        with self.store.lock():  # two processes would make two runs, or the same tag at the same time
            run = self.summary_run(name) or listed(self.client.create_run(experiment_id, tags=tags, run_name="summary"))
            if _asked(run) < summary.asked:
                self.client.log_text(run.id, summary.model_dump_json(indent=2), "plan.json")
                self.describe(run.id, summary.design.question)
                self.client.set_terminated(run.id)
                self.client.set_tag(run.id, "asked", repr(summary.asked))
        return run.id

    def describe(self, run_id: str, note: str) -> None:
        """Put Markdown on a run's page, as far as MLflow keeps it: cut between two lines, with how many are left out.

        Raises:
            TrackingError: the store fails.
        """
        with failing_in_one_line():
            self.client.set_tag(run_id, "mlflow.note.content", rows.fitting(note))

    def last_asked(self, experiment: str) -> float:
        """`Summary.asked` of the last summary that the store has; 0 if it has none."""
        with failing_in_one_line("read"):
            found = self.client.get_experiment_by_name(experiment)
            run = self.summary_run(experiment) if found else None
            return max(_asked(run), 0.0) if run else 0.0

    @failing_in_one_line("read")
    def summary(self, experiment: str) -> Summary:
        """What was last asked of an experiment.

        Raises:
            TrackingError: nothing was ever run under that name.
        """
        found = self.client.get_experiment_by_name(experiment)
        run = self.summary_run(experiment) if found else None
        if run is None:
            names = self.experiments()
            raise store.TrackingError(
                f"no runs of {experiment!r} are recorded (recorded: {', '.join(sorted(names)) or 'none'}); "
                f"make them with: make run EXP={experiment}"
            )
        return Summary.model_validate_json(self.artifact(run.id, "plan.json").read_bytes())

    @failing_in_one_line()
    def add_to_summary(self, experiment: str, folder: Path) -> None:
        """Put a report's files beside the plan in the experiment's summary run."""
        run = self.summary_run(experiment)
        assert run is not None
        self.client.log_artifacts(run.id, str(folder), "report")

    def runs(self, experiment: str) -> dict[str, Recorded]:
        """Run key → what MLflow has of that run; runs of others in the experiment are passed over."""
        found = newest(self.listing(experiment))
        return {key: Recorded(run.id, run.state or "", run.epochs) for key, run in found.items()}

    @failing_in_one_line("read")
    def journal_of(self, run_id: str) -> list[Event]:
        """The events of an ended run.

        Raises:
            Damaged: its journal is not there, or not what was delivered.
        """
        return journal.parse(self.artifact(run_id, journal.NAME).read_bytes())

    @failing_in_one_line("read")
    def artifact(self, run_id: str, name: str) -> Path:
        """One artifact of a run: the store's own file where that lies on this machine, or a copy that lasts as long as
        the process. It is what was delivered; where the store's file is not, `runs/` has it.

        Raises:
            Damaged: it is not there, or not what was delivered, in either place.
        """
        run = self.run(run_id)
        expected, problem = run.digests.get(name), "it is missing"
        for fetch in (self._in_store, self._in_runs):
            try:
                path = fetch(run, name)
                if path.is_file() and (expected is None or sha256(path) == expected):
                    return path
                problem = "it is not what was delivered" if path.is_file() else problem
            except Exception as error:  # MLflow's libraries raise whatever they like for a file that is not there
                problem = first_line(error)
        raise Damaged(
            f"{name} of run {run.key or run_id} cannot be read ({problem}); make sync puts it back if runs/ has it"
        )

    def _in_store(self, run: Listed, name: str) -> Path:
        folder = self.folder(run)
        if folder is not None:
            return folder / name
        copies = _downloads() / run.id
        copies.mkdir(exist_ok=True)
        return Path(self.client.download_artifacts(run.id, name, str(copies)))

    def _in_runs(self, run: Listed, name: str) -> Path:
        """The run's own file, which the store's was made from; it counts only where its digest is known."""
        here = self.store.root / "runs" / run.tags.get("experiment", "") / (run.key or "")
        if name not in run.digests:
            raise FileNotFoundError("it is missing")
        return here / name if name == journal.NAME else here / "artifacts" / name

    def folder(self, run: Listed) -> Path | None:
        """Where a run's artifacts lie on this machine; None if only the server knows."""
        return local_folder(run.place) if self.store.file is not None else None

    def run(self, run_id: str) -> Listed:
        """A run by its MLflow id, as it was when it was first seen."""
        if run_id not in self._seen:
            self._seen[run_id] = listed(self.client.get_run(run_id))
        return self._seen[run_id]

    def summary_run(self, experiment: str) -> Listed | None:
        """The one that was asked last: two machines that begin at once on one server make two."""
        summaries = (run for run in self.listing(experiment) if run.tags.get("kind") == "summary" and not run.deleted)
        return max(summaries, key=_asked, default=None)


def _asked(run: Listed) -> float:
    with contextlib.suppress(ValueError):
        return float(run.tags.get("asked", "-1"))
    return -1.0
