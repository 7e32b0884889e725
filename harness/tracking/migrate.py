"""Copy all runs of one tracking store into another and compare them; an interrupted copy can be resumed.

A copy is created with the tag `copied_from` (its source's run id) and gets the tag `copied` = `whole` once its rows and
artifacts have been compared, so a killed process leaves neither duplicates nor incomplete copies that look complete. A
run that the target already has under the same key, attempt and project is completed instead of copied.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.tracking.listing import Listed
from harness.tracking.receipt import sha256
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Tracker, failing_in_one_line

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

SOURCE, WHOLE = "copied_from", "copied"
_KINDS = ("run", "summary")
"""Runs are copied before summaries, whose notes link to them."""
_BATCH, _PARAMS, _TAGS = 1000, 100, 100
_LAST = ("state", "asked")
"""Tags that mark a run as complete; they are written last."""
_DEPTH = 8
"""Maximum depth of folders among a run's artifacts."""
Files = list[tuple[str, int]]
"""Paths and sizes of a run's artifacts."""


@dataclass(frozen=True)
class Counts:
    """Numbers of copied runs, metric rows and artifacts in a store."""

    runs: int = 0
    metrics: int = 0
    artifacts: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.runs + other.runs, self.metrics + other.metrics, self.artifacts + other.artifacts)

    def __str__(self) -> str:
        return f"{self.runs} runs, {self.metrics} metric rows, {self.artifacts} artifacts"


def migrate(source: Tracker, target: Tracker, say: Callable[[str], None]) -> tuple[Counts, Counts]:
    """Copy all runs and summaries of the harness that are not deleted.

    Args:
        say: receives a line per experiment.

    Returns:
        The counts of these runs in the source and in the target.

    Raises:
        TrackingError: a store fails, or a copy differs from its source; the same command then resumes.
    """
    counted, copied = Counts(), Counts()
    with failing_in_one_line("migrated"):
        for name in sorted(source.experiments()):
            runs = [run for run in source.listing(name) if run.tags.get("kind") in _KINDS and not run.deleted]
            places = _Places(source, target, name)
            for run in sorted(runs, key=lambda run: _KINDS.index(run.tags["kind"])):
                here, there = places.copy(run)
                counted, copied = counted + here, copied + there
            say(f"{name}: {len(runs)} runs")
    return counted, copied


class _Places:
    """Copies the runs of one experiment from the source to the target."""

    def __init__(self, source: Tracker, target: Tracker, experiment: str):
        self._from, self._to, self._experiment = source.client, target.client, target.experiment_id(experiment)
        self._links = {f"#/experiments/{source.experiment_id(experiment)}/": f"#/experiments/{self._experiment}/"}
        """Links in notes: path in the source → path in the target."""
        self._there = [run for run in target.listing(experiment) if not run.deleted]

    def copy(self, run: Listed) -> tuple[Counts, Counts]:
        """Copy a run unless the target has a complete copy; returns the counts in the source and in the target."""
        found = self._find(run)
        source = self._from.get_run(run.id)
        number = found.id if found else self._create(source)
        self._links[f"/runs/{run.id}"] = f"/runs/{number}"
        rows, files = list(_rows(self._from, source)), list(_files(self._from, run.id))
        if found and found.tags.get(WHOLE) == "whole" and found.tags.get("state") == run.state:
            rows_there, files_there = list(_rows(self._to, self._to.get_run(number))), list(_files(self._to, number))
        else:
            rows_there, files_there = self._send(source, number, rows, files)
        return Counts(1, len(rows), len(files)), Counts(1, len(rows_there), len(files_there))

    def _find(self, run: Listed) -> Listed | None:
        copies = [each for each in self._there if each.tags.get(SOURCE) == run.id]
        for double in copies[1:]:  # created twice because the first answer came late
            self._to.delete_run(double.id)
        own = [name for name in ("kind", "run_key", "attempt", "origin") if name in run.tags]
        same = [each for each in self._there if all(each.tags.get(name) == run.tags[name] for name in own)]
        return next(iter([*copies, *same]), None)

    def _create(self, source: "Run") -> str:
        tags = {name: value for name, value in source.data.tags.items() if name not in _LAST} | {
            SOURCE: source.info.run_id
        }
        made = self._to.create_run(self._experiment, source.info.start_time, tags, source.info.run_name)
        return made.info.run_id

    def _send(self, source: "Run", number: str, rows: "list[Metric]", files: Files) -> "tuple[list[Metric], Files]":
        """Copy a run's content and compare it; returns the target's metric rows and artifacts."""
        from mlflow.entities import Param, RunTag

        params = [Param(name, value) for name, value in source.data.params.items()]
        for start in range(0, len(params), _PARAMS):
            self._to.log_batch(number, params=params[start : start + _PARAMS])
        for start in range(0, len(rows), _BATCH):
            self._to.log_batch(number, metrics=rows[start : start + _BATCH])
        if files:
            self._bring(source.info.run_id, number, files)
        sent = [RunTag(name, value) for name, value in self._tags(source).items()]
        for start in range(0, len(sent), _TAGS):
            self._to.log_batch(number, tags=sent[start : start + _TAGS])
        there = self._compare(source, number, rows, files)
        if source.info.status != "RUNNING":
            self._to.set_terminated(number, source.info.status, source.info.end_time)
        self._to.set_tag(number, WHOLE, "whole")
        for name in _LAST:
            if name in source.data.tags:
                self._to.set_tag(number, name, source.data.tags[name])
        return there

    def _tags(self, source: "Run") -> dict[str, str]:
        """The tags that may be written before the copy is complete, with links changed to the copies."""
        found = {name: value for name, value in source.data.tags.items() if name not in (*_LAST, SOURCE, WHOLE)}
        for name in found:
            for old, new in self._links.items():
                found[name] = found[name].replace(old, new)
        return found

    def _bring(self, run: str, number: str, files: Files) -> None:
        """Copy artifacts, then download and compare them, because a server may report files that it has not stored."""
        there = dict(_files(self._to, number))
        with tempfile.TemporaryDirectory(prefix="harness-migrated-") as folder:
            (to := Path(folder) / "here").mkdir()
            here = Path(self._from.download_artifacts(run, "", str(to)))
            for name, size in files:
                if there.get(name) != size:
                    self._upload(number, here, name)
            (to := Path(folder) / "back").mkdir()
            back = Path(self._to.download_artifacts(number, "", str(to)))
            for name, _ in files:
                if not (back / name).is_file() or sha256(back / name) != sha256(here / name):
                    self._upload(number, here, name)
                    raise TrackingError(
                        f"{name} of run {run} was not the same in the target; the same command looks again"
                    )

    def _upload(self, number: str, folder: Path, name: str) -> None:
        self._to.log_artifact(number, str(folder / name), name.rpartition("/")[0] or None)

    def _compare(self, source: "Run", number: str, rows: "list[Metric]", files: Files) -> "tuple[list[Metric], Files]":
        copy = self._to.get_run(number)
        rows_there, files_there = list(_rows(self._to, copy)), list(_files(self._to, number))
        found = {
            "metric rows": (Counter(map(_row, rows)), Counter(map(_row, rows_there))),
            "parameters": (source.data.params, copy.data.params),
            "artifacts": (sorted(files), sorted(files_there)),
        }
        wrong = [what for what, (here, there) in found.items() if here != there]
        if wrong:
            raise TrackingError(f"run {source.info.run_id} and its copy {number} differ in their {' and '.join(wrong)}")
        return rows_there, files_there


def _row(metric: "Metric") -> tuple[str, int, int, str]:
    return metric.key, metric.step, metric.timestamp, repr(metric.value)  # repr, because NaN != NaN


def _rows(client: "MlflowClient", run: "Run") -> "Iterator[Metric]":
    """All rows of all metrics of a run."""
    for name in sorted(run.data.metrics):
        yield from client.get_metric_history(run.info.run_id, name)


def _files(client: "MlflowClient", run_id: str, below: str | None = None, depth: int = 0) -> Iterator[tuple[str, int]]:
    """Paths and sizes of a run's artifacts, in all folders or below one of them."""
    for file in client.list_artifacts(run_id, below) if depth < _DEPTH else ():
        if file.is_dir:
            yield from _files(client, run_id, file.path, depth + 1)
        else:
            yield file.path, file.file_size or 0
