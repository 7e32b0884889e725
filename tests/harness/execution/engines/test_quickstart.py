"""README's quickstart, whole, by every engine: the same weights and the same report; by `make test-engines`."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from harness.records import journal
from harness.records.events import Finished
from tests.bench.start_up import copy_project
from tests.harness.execution.engines import slurm_here
from tests.harness.execution.engines.ray_here import ray_nodes

pytestmark = [pytest.mark.engines, pytest.mark.timeout(3600)]
ROOT = Path(__file__).resolve().parents[4]
RUNS, NAME = 9, "quickstart"
_OF_THE_MACHINE = ("seconds", "per_second", "memory", "run_id")
"""In names of columns that tell how long a run took, on what, and MLflow's own name for it."""


def make(folder: Path, *options: str) -> Path:
    """`make run EXP=quickstart` with one thread a run, in a copy of the project; returns that copy."""
    project = copy_project(ROOT, folder)
    shutil.copytree(ROOT / "reports", project / "reports", ignore=shutil.ignore_patterns("out", "published"))
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    for command in (("harness", "run", "--set=threads=1", *options, "--", NAME), ("reports", "write", "--", NAME)):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=project, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return project


def weights(project: Path) -> dict[str, str]:
    """Run key → the digest of its weights."""
    found = {}
    for path in project.glob(f"runs/{NAME}/*/{journal.NAME}"):
        (end,) = [event for event in journal.read(path.parent) if isinstance(event, Finished)]
        found[path.parent.name] = end.weights_sha256
    return found


def tables(project: Path) -> dict[str, list[dict[str, str]]]:
    """Every CSV file of the report, but for what the machine decides."""
    found = {}
    for path in sorted((project / "reports" / "out" / NAME).glob("*.csv")):
        with path.open(newline="") as file:
            found[path.name] = [
                {name: cell for name, cell in row.items() if not any(word in name for word in _OF_THE_MACHINE)}
                for row in csv.DictReader(file)
            ]
    return found


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made in one process, one run after the other."""
    return make(tmp_path_factory.mktemp("calm"))


@contextmanager
def _ray(_: Path) -> Iterator[None]:
    with ray_nodes(3) as cluster, pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_ADDRESS", str(cluster.address))
        yield


def _slurm(folder: Path) -> AbstractContextManager[None]:
    if slurm_here.MISSING:
        pytest.skip(slurm_here.MISSING)
    (folder / "slurm").mkdir()
    return slurm_here.slurm(folder / "slurm")


@pytest.mark.parametrize(
    ("option", "around"),
    [
        ("--jobs=2", nullcontext),
        ("--ray=auto", _ray),
        ("--slurm=partition=here time=10 runs=2", _slurm),
        ("--slurm=local runs=2", nullcontext),
    ],
    ids=["jobs", "three_nodes_of_ray", "slurm", "submitit_alone"],
)
def test_quickstart_is_the_same_everywhere(option: str, around: type, calm: Path, tmp_path: Path) -> None:
    """Nine weight hashes, and every number of the report that the machine does not decide."""
    with around(tmp_path):
        project = make(tmp_path, option)
    assert len(weights(calm)) == RUNS
    assert weights(project) == weights(calm)
    expected = tables(calm)
    assert {"summary.csv", "comparisons.csv", "runs.csv", "metrics.csv"} <= set(expected)
    assert tables(project) == expected
