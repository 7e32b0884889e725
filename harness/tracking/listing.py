"""List an experiment's runs with one query; MLflow's own search loads all parameters and metrics of every run, which
takes seconds for a thousand runs.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from harness.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

DIGESTS = "artifact_sha256"
"""The tag with the digests of an ended run's artifacts: JSON, name → SHA-256."""
_QUERY = """SELECT run_uuid, lifecycle_stage, artifact_uri, tags.key, tags.value
            FROM runs LEFT JOIN tags USING (run_uuid) WHERE experiment_id = ? {} ORDER BY start_time DESC, run_uuid"""
_OF_KEY = "AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = 'run_key' AND value = ?)"
_PATIENCE_SECONDS = 20.0
"""Time to wait for another process's lock, the same as MLflow's."""


@dataclass
class Listed:
    """A run as listed by the store."""

    id: str
    deleted: bool
    place: str
    """The address of its artifacts."""
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str | None:
        """The run key; None for a summary run, and for runs of other programs."""
        return self.tags.get("run_key")

    @property
    def state(self) -> str | None:
        return self.tags.get("state")

    @property
    def digests(self) -> Mapping[str, str]:
        """Artifact → SHA-256 of what was delivered; empty if the run has not ended or has no digests recorded."""
        with suppress(ValueError, TypeError):
            return dict(json.loads(self.tags.get(DIGESTS, "{}")))
        return {}

    @property
    def epochs(self) -> int | None:
        """Number of epochs delivered when the run ended; None before that."""
        said = self.tags.get("epochs_recorded", "")
        return int(said) if said.isdecimal() else None


def listing(store: Store, experiment_id: str, key: str | None = None) -> list[Listed]:
    """An experiment's runs, or those with one run key; ordered by start time, latest first; includes deleted runs."""
    if store.file is not None:
        return _in_file(store.file, experiment_id, key)
    from mlflow.entities import ViewType

    found: list[Run] = []
    token: str | None = None
    where = f"tags.run_key = '{key}'" if key else ""
    while token is None or token:
        page = store.client.search_runs([experiment_id], where, ViewType.ALL, 1000, page_token=token)
        found += page
        token = page.token or ""
    return [listed(run) for run in found]


def listed(run: "Run") -> Listed:
    """Convert a run of MLflow's client."""
    info = run.info
    return Listed(info.run_id, info.lifecycle_stage == "deleted", info.artifact_uri or "", dict(run.data.tags))


def local_folder(place: str) -> Path | None:
    """The local folder that an artifact address refers to; None for other addresses."""
    if place.startswith("file://"):
        return Path(unquote(place.removeprefix("file://")))
    return Path(place) if place.startswith("/") else None


def newest(runs: list[Listed]) -> Mapping[str, Listed]:
    """Run key → the run that counts: the latest finished run that is not deleted, else the latest run not deleted.

    Several runs have the same key if another project records in the same store, or if `runs/` was deleted and the runs
    were made again.
    """
    found: dict[str, Listed] = {}
    for run in runs:
        if run.key is None or run.deleted or run.state is None:
            continue
        if run.key not in found or (run.state == "finished" != found[run.key].state):
            found[run.key] = run
    return found


def _in_file(file: Path, experiment_id: str, key: str | None) -> list[Listed]:
    found: dict[str, Listed] = {}
    values = (int(experiment_id), key) if key else (int(experiment_id),)
    with closing(sqlite3.connect(file, timeout=_PATIENCE_SECONDS)) as connection:
        for number, stage, place, tag, value in connection.execute(_QUERY.format(_OF_KEY if key else ""), values):
            run = found.setdefault(number, Listed(number, stage == "deleted", place or ""))
            if tag is not None:
                run.tags[tag] = value
    return list(found.values())
