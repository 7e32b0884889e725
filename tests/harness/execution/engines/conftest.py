"""A grid of tiny runs of real digits, which workers can load: made once in this process, compared with every engine."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

import harness.execution.execute
import harness.execution.grid
from harness.artifacts import write
from harness.environment import Machine
from harness.execution.check import check
from harness.execution.engines.where import Where
from harness.execution.execute import Outcome, execute
from harness.plans.experiment import Experiment
from harness.plans.hyperparameters import SGD
from harness.plans.plan import Plan, plan
from harness.plans.spec import Circumstances, Data, Model, Recipe
from harness.records import journal
from harness.records.events import EpochDone, Finished
from harness.tracking.tracker import Tracker
from tests.harness.execution.engines import undrawn

Numbers = dict[str, tuple[str, list[dict[str, Any]]]]
"""Run key → the digest of its weights, and every epoch's scores."""

EXPERIMENT = Experiment(
    name="tiny_grid",
    question="Is it the same everywhere?",
    base=Recipe(
        data=Data(name="digits", image_size=12),
        model=Model(name="norm_cnn", head="gap", dropout=0.1),
        optimizer=SGD(lr=0.02),
        epochs=2,
        batch_size=512,
        precision="fp32",
    ),
    variants={"slow": {}, "fast": {"optimizer.lr": 0.1}},
    factor=("optimizer.lr",),
    baseline="slow",
    seeds=(0, 1),
    circumstances=Circumstances(device="cpu", threads=1, memory_format="channels_last", step="eager"),
)


class Courier:
    """In the courier's place, where nothing is to be delivered."""

    def begin(self, summary: Any) -> None: ...

    def tell(self, folder: Path, now: bool = False) -> None: ...

    def finish(self, folders: Any) -> list[Path]:
        return []

    def is_latest(self, summary: Any) -> bool:
        return True


def planned(jobs: Any = 1, seeds: int = 2, variants: Sequence[str] = (), **changes: Any) -> Plan:
    machine = Machine("cpu", False, 1)
    return plan(EXPERIMENT, machine, seeds=seeds, variants=variants, changes={"jobs": jobs, **changes})


def numbers(root: Path) -> Numbers:
    """Of every run in a project."""
    found: Numbers = {}
    for path in sorted(root.glob(f"runs/*/*/{journal.NAME}")):
        events = journal.read(path.parent)
        (end,) = [event for event in events if isinstance(event, Finished)]
        epochs = [event for event in events if isinstance(event, EpochDone)]
        scores = [event.model_dump(include={"epoch", "train", "test", "lrs"}) for event in epochs]
        found[path.parent.name] = end.weights_sha256, scores
    return found


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's data folder, for all projects of these tests."""
    folder = tmp_path_factory.mktemp("grid") / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def make_grid(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """make_grid(where, jobs=2) makes the grid in tmp_path."""
    (tmp_path / "data").symlink_to(images)
    monkeypatch.setattr(harness.execution.execute, "Courier", lambda *_: Courier())
    monkeypatch.setattr(harness.execution.grid, "make", undrawn.make)
    monkeypatch.setattr(write, "write_artifacts", write.write_artifacts)  # put back what `undrawn` changes here

    def make(where: Where | None = None, jobs: Any = 1, **changes: Any) -> Outcome:
        complete, datasets = check(planned(jobs, **changes), tmp_path)
        return execute(complete, datasets, cast("Tracker", None), tmp_path, 0, (), {}, where)

    return make


@pytest.fixture(scope="session")
def make_calmly(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Callable[..., Numbers]:
    """make_calmly(**changes): what the grid comes to in this process, one run after the other."""

    def make(**changes: Any) -> Numbers:
        root = tmp_path_factory.mktemp("calm")
        (root / "data").symlink_to(images)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(harness.execution.execute, "Courier", lambda *_: Courier())
            patched.setattr(write, "write_artifacts", lambda *_: {})
            complete, datasets = check(planned(**changes), root)
            assert execute(complete, datasets, cast("Tracker", None), root, 0) == Outcome()
        return numbers(root)

    return make


@pytest.fixture(scope="session")
def calm(make_calmly: Callable[..., Numbers]) -> Numbers:
    """The grid as it is."""
    return make_calmly()
