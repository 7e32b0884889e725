"""Read an experiment's runs from MLflow, and read and write its summary run, which holds the plan and the report.

Runs are written by `delivery`; reports read them through this module.
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
    """An artifact of a run is missing or differs from what was delivered; the store itself works."""


class PlannedRun(BaseModel):
    key: str
    variant: str
    seed: int


class Summary(BaseModel):
    """The latest plan of an experiment: its design and its runs."""

    design: Design
    runs: tuple[PlannedRun, ...]
    asked: float = 0.0
    """Number of the plan; the largest one is current, in whatever order summaries arrive. Each plan gets one more than
    the largest number known, independent of clocks; the first ones were seconds since 1970."""
    looks: tuple[Look, ...] = ()
    """All looks at the results so far, in chronological order."""
    tuned: Tuned | None = None
    """The tuning trials that the recipes' tuned values come from."""


@dataclass(frozen=True)
class Recorded:
    """A run recorded in MLflow."""

    id: str
    state: str
    """The tag `state`: running, interrupted, finished, diverged or failed."""
    epochs: int | None
    """Number of epochs delivered when the run ended; None before that."""


@contextlib.contextmanager
def failing_in_one_line(what: str = "written") -> Iterator[None]:
    """Context that turns every exception into a TrackingError, since MLflow's libraries raise many types."""
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
    """A tracking store, opened by `store.connect`. Every method raises TrackingError if the store fails."""

    def __init__(self, root: Path, uri: str | None = None):
        self.store = store.connect(root, uri)
        self._experiments: dict[str, str] = {}
        self._seen: dict[str, Listed] = {}
        """MLflow run id → the run, for the runs listed so far."""

    @property
    def client(self) -> "MlflowClient":
        return self.store.client

    @failing_in_one_line("read")
    def experiments(self) -> list[str]:
        """The names of all recorded experiments."""
        return [each.name for each in self.client.search_experiments() if each.name != "Default"]

    @failing_in_one_line()
    def experiment_id(self, name: str) -> str:
        """The id of the MLflow experiment with this name, which is created or, if it was deleted, restored."""
        if name not in self._experiments:
            found = self.client.get_experiment_by_name(name)
            if found and found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            self._experiments[name] = found.experiment_id if found else self._create_experiment(name)
        return self._experiments[name]

    def _create_experiment(self, name: str) -> str:
        shown_as = {"mlflow.experimentKind": "custom_model_development"}  # the UI's pages for training
        with self.store.lock():
            found = self.client.get_experiment_by_name(name)  # created by another process meanwhile
            if found:
                return found.experiment_id
            try:
                return self.client.create_experiment(name, self.store.artifact_location(name), tags=shown_as)
            except Exception:
                found = self.client.get_experiment_by_name(name)  # created by another machine
                if found is None:
                    raise
                return found.experiment_id

    @failing_in_one_line("read")
    def listing(self, experiment: str, key: str | None = None) -> list[Listed]:
        """The runs of an experiment, or those with one run key, by one query; ordered by start time, latest first.

        Deleted runs and runs of other programs are included.
        """
        found = listing(self.store, self.experiment_id(experiment), key)
        self._seen.update((run.id, run) for run in found)
        return found

    @failing_in_one_line()
    def record_summary(self, summary: Summary) -> str:
        """Write a plan to the experiment's summary run unless that has it, or a newer one; returns that run's id."""
        name = summary.design.experiment
        experiment_id, tags = self.experiment_id(name), {"kind": "summary", "experiment": name}
        with self.store.lock():  # otherwise two processes could create two runs or set one tag at once
            run = self.summary_run(name) or listed(self.client.create_run(experiment_id, tags=tags, run_name="summary"))
            if _asked(run) < summary.asked:
                self.client.log_text(run.id, summary.model_dump_json(indent=2), "plan.json")
                self.describe(run.id, summary.design.question)
                self.client.set_terminated(run.id)
                self.client.set_tag(run.id, "asked", repr(summary.asked))
        return run.id

    def describe(self, run_id: str, note: str) -> None:
        """Set the Markdown note on a run's page, shortened to MLflow's limit (see `rows.fitting`).

        Raises:
            TrackingError: the store fails.
        """
        with failing_in_one_line():
            self.client.set_tag(run_id, "mlflow.note.content", rows.fitting(note))

    def last_asked(self, experiment: str) -> float:
        """`Summary.asked` of the latest summary in the store; 0 if there is none."""
        with failing_in_one_line("read"):
            found = self.client.get_experiment_by_name(experiment)
            run = self.summary_run(experiment) if found else None
            return max(_asked(run), 0.0) if run else 0.0

    @failing_in_one_line("read")
    def summary(self, experiment: str) -> Summary:
        """The latest plan of an experiment.

        Raises:
            TrackingError: there is no experiment of that name.
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
        """Upload a report's files to the experiment's summary run."""
        run = self.summary_run(experiment)
        assert run is not None
        self.client.log_artifacts(run.id, str(folder), "report")

    def runs(self, experiment: str) -> dict[str, Recorded]:
        """Run key → the run in MLflow; runs of other programs in the experiment are ignored."""
        found = newest(self.listing(experiment))
        return {key: Recorded(run.id, run.state or "", run.epochs) for key, run in found.items()}

    @failing_in_one_line("read")
    def journal_of(self, run_id: str) -> list[Event]:
        """The events of an ended run.

        Raises:
            Damaged: its journal is missing or differs from what was delivered.
        """
        return journal.parse(self.artifact(run_id, journal.NAME).read_bytes())

    @failing_in_one_line("read")
    def artifact(self, run_id: str, name: str) -> Path:
        """The path of a run's artifact, verified by its digest if that is known.

        A local store's own file is taken first, then the file in `runs/`; of a server's artifacts the file in `runs/`
        first, then a downloaded copy that lasts as long as the process.

        Raises:
            Damaged: the artifact is missing or differs from what was delivered, in both places.
        """
        run = self.run(run_id)
        expected, problem = run.digests.get(name), "it is missing"
        places = (self._in_store, self._in_runs)
        for fetch in places if self.store.file is not None else reversed(places):
            try:
                path = fetch(run, name)
                if path.is_file() and (expected is None or sha256(path) == expected):
                    return path
                problem = "it is not what was delivered" if path.is_file() else problem
            except Exception as error:  # MLflow's libraries raise many types of errors for missing files
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
        """The file in `runs/` that was delivered; used only if its digest is known."""
        here = self.store.root / "runs" / run.tags.get("experiment", "") / (run.key or "")
        if name not in run.digests:
            raise FileNotFoundError("it is missing")
        return here / name if name == journal.NAME else here / "artifacts" / name

    def folder(self, run: Listed) -> Path | None:
        """The folder of a run's artifacts on this machine; None if they are on a server."""
        return local_folder(run.place) if self.store.file is not None else None

    def run(self, run_id: str) -> Listed:
        """A run by its MLflow id, in the state in which it was first read."""
        if run_id not in self._seen:
            self._seen[run_id] = listed(self.client.get_run(run_id))
        return self._seen[run_id]

    def summary_run(self, experiment: str) -> Listed | None:
        """The summary run with the latest plan; there may be two if two machines began at once on one server."""
        summaries = (run for run in self.listing(experiment) if run.tags.get("kind") == "summary" and not run.deleted)
        return max(summaries, key=_asked, default=None)


def _asked(run: Listed) -> float:
    with contextlib.suppress(ValueError):
        return float(run.tags.get("asked", "-1"))
    return -1.0
