"""MLflow: facts go in from a run's journal, records come out for the reports. Only `store` imports MLflow besides.

`Tracker.sync` delivers whatever of a journal MLflow does not have yet and may be repeated at will: a run is found by
its key, and facts carry their own time stamps, so a row sent twice is stored once. One call an epoch goes out.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from harness import journal, store
from harness.facts import EpochDone, Fact, Finished, LRFound, Started
from harness.spec import Design, flatten

if TYPE_CHECKING:
    from mlflow.entities import Run

_BATCH, _PARAMS, _PARAM_LENGTH = 1000, 100, 6000
"""MLflow's limits: metrics a call, parameters a call, characters a parameter."""
_STATES = {"finished": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}


class PlannedRun(BaseModel):
    key: str
    variant: str
    seed: int


class Summary(BaseModel):
    """What was last asked of an experiment: its design and its runs."""

    design: Design
    runs: tuple[PlannedRun, ...]


@contextlib.contextmanager
def _failing_in_one_line() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise store.TrackingError(f"MLflow cannot be written: {line}") from error


class Tracker:
    """A tracking store, by its URI: see `store.connect`, also for what it raises."""

    def __init__(self, root: Path, uri: str | None = None):
        self._store = store.connect(root, uri)
        self._client = self._store.client
        self._experiments: dict[str, str] = {}
        self._seen: set[str] = set()

    def experiment_id(self, name: str) -> str:
        """The MLflow experiment of that name, made once."""
        if name not in self._experiments:
            with self._store.lock():
                found = self._client.get_experiment_by_name(name)
                self._experiments[name] = found.experiment_id if found else self._create_experiment(name)
        return self._experiments[name]

    def _create_experiment(self, name: str) -> str:
        shown_as = {"mlflow.experimentKind": "custom_model_development"}  # the UI's pages for training, not for LLMs
        return self._client.create_experiment(name, self._store.artifact_location(name), tags=shown_as)

    def sync(self, folder: Path) -> None:
        """Deliver what the run in this folder has recorded and MLflow does not have yet.

        Raises:
            TrackingError: the store fails; nothing is lost, a later `sync` delivers the rest.
        """
        with _failing_in_one_line():
            self._deliver(folder)

    def _deliver(self, folder: Path) -> None:
        facts = journal.read(folder)
        started = next((fact for fact in facts if fact.kind == "started"), None)
        if started is None:
            return
        receipt = _Receipt(folder, started)
        if receipt.run_id is None or not self._has(receipt.run_id):
            receipt.run_id, receipt.facts, receipt.ended = self._run_for(started), 0, False
            self._send_parameters(receipt.run_id, started)  # again for a run that was found: it may lack them
        pending, last = facts[receipt.facts :], facts[-1]
        if pending and receipt.ended:
            self._reopen(receipt.run_id)
        metrics = [metric for fact in pending for metric in _metrics(fact)]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(receipt.run_id, metrics=metrics[start : start + _BATCH])
        if pending and last.kind in _STATES:
            self._close(receipt.run_id, folder, last, sum(fact.kind == "epoch" for fact in facts))
        receipt.ended = last.kind in _STATES if pending else receipt.ended
        receipt.save(len(facts))

    def interrupt(self, folder: Path) -> None:
        """Say that the run in this folder was stopped and can go on; its next fact opens it again.

        Raises:
            TrackingError: the store fails.
        """
        facts = journal.read(folder)
        if facts and facts[0].kind == "started":
            receipt = _Receipt(folder, facts[0])
            if receipt.run_id:
                with _failing_in_one_line():
                    self._client.set_tag(receipt.run_id, "state", "interrupted")
                    self._client.set_terminated(receipt.run_id, "KILLED")
                receipt.ended = True
                receipt.save(receipt.facts)

    def _has(self, run_id: str) -> bool:
        """Whether this store has the run of a receipt: that may have been written for another store, or a lost one."""
        from mlflow.exceptions import MlflowException

        if run_id not in self._seen:
            try:
                if self._client.get_run(run_id).info.lifecycle_stage != "active":
                    return False
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False
            self._seen.add(run_id)
        return True

    def _run_for(self, started: Started) -> str:
        """The MLflow run of this attempt, open; an abandoned attempt at the same key is deleted."""
        spec = started.spec
        experiment_id = self.experiment_id(spec.experiment)
        attempt = f"{started.time:.6f}"
        for run in self._client.search_runs([experiment_id], f"tags.run_key = '{spec.key}'"):
            if run.data.tags.get("attempt") == attempt:
                self._reopen(run.info.run_id)
                return run.info.run_id
            self._client.delete_run(run.info.run_id)
        tags = {
            "kind": "run",
            "run_key": spec.key,
            "attempt": attempt,
            "experiment": spec.experiment,
            "variant": spec.variant,
            "seed": str(spec.seed),
            "state": "running",
            "mlflow.source.git.commit": str(started.environment.get("commit")),
            "mlflow.note.content": started.design.question,
        }
        run = self._client.create_run(
            experiment_id,
            start_time=_milliseconds(started),
            tags=tags,
            run_name=f"{spec.variant} seed {spec.seed}",
        )
        return run.info.run_id

    def _reopen(self, run_id: str) -> None:
        self._client.update_run(run_id, status="RUNNING")
        self._client.set_tag(run_id, "state", "running")

    def _send_parameters(self, run_id: str, started: Started) -> None:
        from mlflow.entities import Param

        environment = {f"environment.{k}": v for k, v in started.environment.items() if k != "versions"}
        versions = {f"environment.{k}": v for k, v in started.environment["versions"].items()}
        data = {f"data.{k}": v for k, v in started.data.model_dump().items() if k != "name"}
        model = {f"model.{k}": v for k, v in started.model.model_dump().items()}
        run = {"variant": started.spec.variant, "seed": started.spec.seed, "augmentation.used": started.augmentation}
        values = data | model | environment | versions | run | flatten(started.spec.recipe)
        params = [Param(name, _text(value)[:_PARAM_LENGTH]) for name, value in values.items()]
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS])

    def _close(self, run_id: str, folder: Path, last: Fact, epochs: int) -> None:
        if (folder / "artifacts").is_dir() and last.kind == "finished":
            self._client.log_artifacts(run_id, str(folder / "artifacts"))
        self._client.log_artifact(run_id, str(folder / journal.NAME))
        self._client.set_tag(run_id, "state", last.kind)
        self._client.set_tag(run_id, "epochs_recorded", str(epochs))
        self._client.set_terminated(run_id, _STATES[last.kind], end_time=_milliseconds(last))

    @_failing_in_one_line()
    def record_summary(self, summary: Summary) -> str:
        """Write what was asked of an experiment into its summary run; returns that run's id."""
        experiment_id = self.experiment_id(summary.design.experiment)
        run_id = self._summary_run(experiment_id)
        if run_id is None:
            tags = {"kind": "summary", "experiment": summary.design.experiment}
            run_id = self._client.create_run(experiment_id, tags=tags, run_name="summary").info.run_id
            self._client.set_terminated(run_id)
        self._client.set_tag(run_id, "mlflow.note.content", summary.design.question)
        self._client.log_text(run_id, summary.model_dump_json(indent=2), "plan.json")
        return run_id

    def summary(self, experiment: str) -> Summary:
        """What was last asked of an experiment.

        Raises:
            TrackingError: nothing was ever run under that name.
        """
        found = self._client.get_experiment_by_name(experiment)
        run_id = self._summary_run(found.experiment_id) if found else None
        if run_id is None:
            names = [e.name for e in self._client.search_experiments() if e.name != "Default"]
            raise store.TrackingError(
                f"no runs of {experiment!r} are recorded (recorded: {', '.join(sorted(names)) or 'none'}); "
                f"make them with: make run EXP={experiment}"
            )
        return Summary.model_validate_json(self.artifact(run_id, "plan.json").read_bytes())

    @_failing_in_one_line()
    def add_to_summary(self, experiment: str, folder: Path) -> None:
        """Put a report's files beside the plan in the experiment's summary run."""
        run_id = self._summary_run(self.experiment_id(experiment))
        assert run_id is not None
        self._client.log_artifacts(run_id, str(folder), "report")

    def runs(self, experiment: str) -> dict[str, str]:
        """Run key → MLflow run id, of every run that has ended."""
        found: dict[str, str] = {}
        for run in self._search(self.experiment_id(experiment), "tags.kind = 'run'"):
            if run.data.tags.get("state") in _STATES:
                found[run.data.tags["run_key"]] = run.info.run_id
        return found

    def states(self, experiment: str) -> dict[str, str]:
        """Run key → running, interrupted, finished, diverged or failed."""
        runs = self._search(self.experiment_id(experiment), "tags.kind = 'run'")
        return {run.data.tags["run_key"]: run.data.tags["state"] for run in runs}

    def journal_of(self, run_id: str) -> list[Fact]:
        """The facts of an ended run."""
        return journal.parse(self.artifact(run_id, journal.NAME).read_bytes())

    def artifact(self, run_id: str, name: str) -> Path:
        """A local copy of one artifact of a run."""
        return Path(self._client.download_artifacts(run_id, name))

    def _summary_run(self, experiment_id: str) -> str | None:
        runs = self._search(experiment_id, "tags.kind = 'summary'")
        return runs[0].info.run_id if runs else None

    def _search(self, experiment_id: str, filter_string: str) -> list["Run"]:
        found: list[Run] = []
        token: str | None = None
        while token is None or token:
            page = self._client.search_runs([experiment_id], filter_string, max_results=1000, page_token=token)
            found += page
            token = page.token or ""
        return found


class _Receipt:
    """How much of a run's journal MLflow has: kept beside the journal, safe to lose."""

    def __init__(self, folder: Path, started: Started):
        self._path, self._attempt = folder / "delivered.json", started.time
        self.run_id: str | None = None
        self.facts = 0
        self.ended = False
        """Whether MLflow was told that the run is over, or interrupted."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            kept = json.loads(self._path.read_text())
            if kept["attempt"] == self._attempt:
                self.run_id, self.facts, self.ended = kept["run_id"], kept["facts"], kept["ended"]

    def save(self, facts: int) -> None:
        temporary = self._path.with_suffix(".tmp")
        kept = {"attempt": self._attempt, "run_id": self.run_id, "facts": facts, "ended": self.ended}
        temporary.write_text(json.dumps(kept))
        temporary.replace(self._path)


def _metrics(fact: Fact) -> Sequence[Any]:
    """A fact as MLflow metrics: scores by epoch, learning rates by optimiser step, the range test by iteration."""
    from mlflow.entities import Metric

    when = _milliseconds(fact)
    match fact:
        case EpochDone():
            scores = {"train": fact.train, "validation": fact.validation, "test": fact.test}
            values = {f"{split}_loss": s.loss for split, s in scores.items() if s}
            values |= {f"{split}_accuracy": s.accuracy for split, s in scores.items() if s}
            values |= {
                "train_seconds": fact.train_seconds,
                "evaluate_seconds": fact.evaluate_seconds,
                "images_per_second": fact.images_per_second,
            }
            first = fact.step - len(fact.lrs) + 1
            rates = [Metric("learning_rate", lr, when, first + i) for i, lr in enumerate(fact.lrs)]
            return [Metric(name, value, when, fact.epoch) for name, value in (values | fact.system).items()] + rates
        case LRFound():
            curve = zip(fact.lrs, fact.losses, strict=True)
            pairs = [
                [Metric("lr_finder_lr", lr, when, i), Metric("lr_finder_loss", loss, when, i)]
                for i, (lr, loss) in enumerate(curve)
            ]
            return [m for pair in pairs for m in pair] + [Metric("lr_finder_suggestion", fact.suggestion, when, 0)]
        case Finished():
            total = {"total_train_seconds": fact.train_seconds, "peak_memory_megabytes": fact.peak_memory_bytes / 1e6}
            return [Metric(name, value, when, 0) for name, value in total.items()]
        case _:
            return []


def _milliseconds(fact: Fact) -> int:
    return int(fact.time * 1000)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
