"""What MLflow has of an experiment: its runs, and a summary run that says what was asked. Reports read from here.

Runs get there by `delivery`. Only `store` and `rows` import MLflow.
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

from harness.plans.spec import Design
from harness.records import journal
from harness.records.events import Fact
from harness.tracking import store
from harness.values import HarnessError, first_line

if TYPE_CHECKING:
    from mlflow.entities import Run


class PlannedRun(BaseModel):
    key: str
    variant: str
    seed: int


class Summary(BaseModel):
    """What was last asked of an experiment: its design and its runs."""

    design: Design
    runs: tuple[PlannedRun, ...]
    asked: float = 0.0
    """Seconds since 1970; the latest counts, in whatever order summaries arrive."""


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
        self.client = self.store.client
        self._experiments: dict[str, str] = {}

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
            return self.client.create_experiment(name, self.store.artifact_location(name), tags=shown_as)

    @failing_in_one_line()
    def record_summary(self, summary: Summary) -> str:
        """Write what was asked of an experiment into its summary run, unless that has it; returns that run's id."""
        experiment_id = self.experiment_id(summary.design.experiment)
        tags = {"kind": "summary", "experiment": summary.design.experiment}
        with self.store.lock():  # two processes would make two runs, or the same tag at the same time
            run = self._summary_run(experiment_id)
            run = run or self.client.create_run(experiment_id, tags=tags, run_name="summary")
            run_id = run.info.run_id
            if float(run.data.tags.get("asked", "-1")) < summary.asked:
                self.client.log_text(run_id, summary.model_dump_json(indent=2), "plan.json")
                self.client.set_tag(run_id, "mlflow.note.content", summary.design.question)
                self.client.set_terminated(run_id)
                self.client.set_tag(run_id, "asked", repr(summary.asked))
        return run_id

    @failing_in_one_line("read")
    def summary(self, experiment: str) -> Summary:
        """What was last asked of an experiment.

        Raises:
            TrackingError: nothing was ever run under that name.
        """
        found = self.client.get_experiment_by_name(experiment)
        run = self._summary_run(found.experiment_id) if found else None
        if run is None:
            names = [e.name for e in self.client.search_experiments() if e.name != "Default"]
            raise store.TrackingError(
                f"no runs of {experiment!r} are recorded (recorded: {', '.join(sorted(names)) or 'none'}); "
                f"make them with: make run EXP={experiment}"
            )
        return Summary.model_validate_json(self.artifact(run.info.run_id, "plan.json").read_bytes())

    @failing_in_one_line()
    def add_to_summary(self, experiment: str, folder: Path) -> None:
        """Put a report's files beside the plan in the experiment's summary run."""
        run = self._summary_run(self.experiment_id(experiment))
        assert run is not None
        self.client.log_artifacts(run.info.run_id, str(folder), "report")

    @failing_in_one_line("read")
    def runs(self, experiment: str) -> dict[str, Recorded]:
        """Run key → what MLflow has of that run."""
        found: dict[str, Recorded] = {}
        for run in self.search(self.experiment_id(experiment), "tags.kind = 'run'"):
            tags = run.data.tags
            epochs = int(tags["epochs_recorded"]) if "epochs_recorded" in tags else None
            key = tags["run_key"]
            if key not in found or found[key].state != "finished":  # another project may have made it too
                found[key] = Recorded(run.info.run_id, tags["state"], epochs)
        return found

    @failing_in_one_line("read")
    def journal_of(self, run_id: str) -> list[Fact]:
        """The facts of an ended run."""
        return journal.parse(self.artifact(run_id, journal.NAME).read_bytes())

    @failing_in_one_line("read")
    def artifact(self, run_id: str, name: str) -> Path:
        """One artifact of a run: the local store's own file, or a copy that lasts as long as the process."""
        if self.store.artifact_root:
            return Path(self.client.download_artifacts(run_id, name))
        folder = _downloads() / run_id
        folder.mkdir(exist_ok=True)
        return Path(self.client.download_artifacts(run_id, name, str(folder)))

    def _summary_run(self, experiment_id: str) -> "Run | None":
        runs = self.search(experiment_id, "tags.kind = 'summary'")
        return runs[0] if runs else None

    @failing_in_one_line("read")
    def search(self, experiment_id: str, filter_string: str) -> list["Run"]:
        """Every active run that a filter finds, page by page."""
        found: list[Run] = []
        token: str | None = None
        while token is None or token:
            page = self.client.search_runs([experiment_id], filter_string, max_results=1000, page_token=token)
            found += page
            token = page.token or ""
        return found
