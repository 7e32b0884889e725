"""What could go is shown with its size first; it goes only when told to, and from all three places."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.records.events import Event
from harness.tracking.delivery import Delivery
from harness.tracking.tracker import Tracker
from tests.harness.runs import begun, write

Prune = Callable[..., list[str]]


@pytest.fixture
def project(named: list[Event], tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two variants with two seeds each, all delivered, of one data set that is in the cache, beside another one."""
    monkeypatch.setattr("harness.__main__.ROOT", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.store.uri)
    delivery = Delivery(Tracker(tmp_path, tracker.store.uri))
    for variant in ("plain", "other"):
        for seed in (0, 1):
            spec = begun(named).spec.model_copy(update={"seed": seed, "variant": variant})
            late = time.time() if seed else named[-1].time
            started, end = begun(named).model_copy(update={"spec": spec}), named[-1].model_copy(update={"time": late})
            folder = tmp_path / "runs" / spec.experiment / spec.key
            write(folder, [started, *named[1:-1], end])
            delivery.deliver(folder)
    for name, checksum in (("mine", "0123"), ("theirs", "4567")):
        cache = tmp_path / "data" / "cache" / name
        cache.mkdir(parents=True)
        (cache / "meta.json").write_text(json.dumps({"checksum": checksum, "pad": "x" * 1_000_000}))
    return tmp_path


@pytest.fixture
def prune(project: Path, named: list[Event], capsys: pytest.CaptureFixture[str]) -> Prune:
    def call(*options: str, status: int = 0) -> list[str]:
        assert main(["prune", begun(named).spec.experiment, *options]) == status
        said = capsys.readouterr()
        return (said.err if status else said.out).splitlines()

    return call


def _left(project: Path) -> list[str]:
    return sorted(path.parent.name.split("-")[1] for path in project.glob("runs/*/*/journal.jsonl"))


def test_nothing_goes_before_it_is_asked_for(project: Path, prune: Prune) -> None:
    """Every run with its size and its end, what MLflow has, and the cache that no other run needs."""
    *runs, here, store, cache, last = prune()
    assert len(runs) == 4
    assert all("MB  ended 1970-01-01" in line or "MB  ended 20" in line for line in runs)
    assert here.startswith("runs/: 4 runs, ")
    assert store.startswith("MLflow: 4 runs, ")
    assert cache == "cache: mine, 1.0 MB (decoded again when needed)"
    assert last == "nothing is deleted yet; the same command with YES=1 deletes them"
    assert _left(project) == ["other", "other", "plain", "plain"]


def test_a_variant_goes_and_the_cache_of_the_others_stays(project: Path, prune: Prune) -> None:
    said = prune("--variant=other", "--yes=1")
    assert said[-1].startswith("deleted: 2 in runs/, 2 in MLflow (")
    assert _left(project) == ["plain", "plain"]
    assert (project / "data" / "cache" / "mine").exists()


def test_old_runs_go(project: Path, prune: Prune) -> None:
    """By the end of the run, in days; what is left when all go is no run and no cache of theirs."""
    assert prune("--older=30", "--yes=1")[-1].startswith("deleted: 2 in runs/, 2 in MLflow (")
    assert _left(project) == ["other", "plain"]
    assert prune("--older=30") == ["nothing to delete: no run is of that variant and that old"]
    assert prune("--yes=1")[-1].startswith("deleted: 2 in runs/, 2 in MLflow (")
    assert [path.name for path in (project / "data" / "cache").iterdir()] == ["theirs"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--variant=othr"], "VARIANT must name a variant that has runs; got 'othr'; did you mean 'other'?"),
        (["--older=month"], "OLDER must be a whole number below a billion; got 'month'"),
        (["--yes=true"], "YES must be 1 or left out; got 'true'"),
    ],
    ids=["variant", "older", "yes"],
)
def test_wrong_input_deletes_nothing(project: Path, prune: Prune, options: list[str], said: str) -> None:
    assert prune(*options, status=2) == [f"error: {said}"]
    assert len(_left(project)) == 4
