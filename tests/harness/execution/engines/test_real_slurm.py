"""Debian's slurm-wlm on this machine (apt-get install slurm-wlm): jobs of a real scheduler; by `make test-engines`."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.execution.engines.where import on_slurm
from harness.execution.execute import Outcome
from harness.records import holding, journal
from harness.records.events import EpochDone, Event, Started
from harness.values import HarnessError
from tests.harness.execution.engines import slurm_here
from tests.harness.execution.engines.conftest import Numbers, numbers

pytestmark = [
    pytest.mark.engines,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(slurm_here.MISSING is not None, reason=str(slurm_here.MISSING)),
]


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with slurm_here.slurm(tmp_path_factory.mktemp("slurm")):
        yield


def test_jobs_of_a_real_scheduler_make_the_same_runs(
    make_grid: Callable[..., Outcome], calm: Numbers, tmp_path: Path
) -> None:
    """One array of two jobs, two runs each."""
    assert make_grid(on_slurm("partition=here time=10 runs=2"), jobs="slurm") == Outcome()
    assert numbers(tmp_path) == calm


def test_a_partition_that_does_not_exist_is_one_line(make_grid: Callable[..., Outcome]) -> None:
    """As sbatch says it."""
    with pytest.raises(HarnessError, match=r"^SLURM: sbatch: error: .*invalid partition specified: gpuu"):
        make_grid(on_slurm("partition=gpuu"), jobs="slurm")


LONG = {"seeds": 1, "variants": ("slow",), "data.image_size": 32, "epochs": 60}
"""One run of a minute or more on one CPU."""


@pytest.fixture(scope="module")
def undisturbed(make_calmly: Callable[..., Numbers]) -> Numbers:
    """That run, made in this process."""
    return make_calmly(**LONG)


def test_a_job_that_its_time_limit_ends_goes_on_from_its_checkpoint(
    make_grid: Callable[..., Outcome], undisturbed: Numbers, tmp_path: Path
) -> None:
    """A minute is too short for it; what the first job made stays, and the next goes on behind it."""
    assert make_grid(on_slurm("partition=here time=1"), jobs="slurm", **LONG) == Outcome()
    assert numbers(tmp_path) == undisturbed
    first, *later = sorted(path.stat().st_mtime for path in (tmp_path / "runs" / "slurm").glob("*_submitted.pkl"))
    assert later
    epochs = [event for event in events(tmp_path) if isinstance(event, EpochDone)]
    assert [event.epoch for event in epochs] == list(range(1, 61))
    assert first < epochs[0].time < later[0] < epochs[-1].time


def test_a_job_that_is_requeued_goes_on_from_its_checkpoint(
    make_grid: Callable[..., Outcome], undisturbed: Numbers, tmp_path: Path
) -> None:
    """As after a node that failed, or by its administrator; started again under its own number."""
    said: list[str] = []
    watching = threading.Thread(target=requeue_once, args=(tmp_path, said))
    watching.start()
    assert make_grid(on_slurm("partition=here time=10"), jobs="slurm", **LONG) == Outcome()
    watching.join()
    assert said == [""]
    assert numbers(tmp_path) == undisturbed
    assert sum(isinstance(event, Started) for event in events(tmp_path)) == 1
    epochs = [event.epoch for event in events(tmp_path) if isinstance(event, EpochDone)]
    assert epochs == list(range(1, 61))
    assert _said("squeue", "--noheader", "--states=PENDING") == ""  # the job that was requeued is not run once more


def events(root: Path) -> Sequence[Event]:
    """Of the one run in a project."""
    (path,) = root.glob(f"runs/*/*/{journal.NAME}")
    return journal.read(path.parent)


def requeue_once(root: Path, said: list[str]) -> None:
    """Once its run has made five epochs; `said` receives what scontrol says."""
    while sum(len(path.read_text().splitlines()) for path in root.glob(f"runs/*/*/{journal.NAME}")) < 6:
        time.sleep(0.1)
    assert list(root.glob(f"runs/*/*/{holding.NAME}"))
    (job,) = {line.strip() for line in _said("squeue", "--noheader", "--array", "--format=%i").splitlines()}
    said.append(_said("scontrol", "requeue", job))


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr
