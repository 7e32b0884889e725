"""How many runs at once: from what is given, from what was recorded, or measured by processes side by side."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.data.load import Dataset
from harness.execution import split
from harness.execution.settle import settle
from harness.execution.split import Probe, Speed, Split, choose, train_for_a_while
from harness.plans.experiment import Design
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, Data, RunSpec
from harness.records.events import Event
from harness.training import autotune
from tests.harness.execution.engines.conftest import EXPERIMENT, images
from tests.harness.runs import write

__all__ = ["images"]

OPEN = Circumstances(device="cpu", memory_format="channels_last", step="eager", jobs="auto")


@pytest.fixture
def plan(spec: RunSpec, design: Design, circumstances: Circumstances) -> Plan:
    """Six seeds."""
    runs = tuple(spec.model_copy(update={"seed": seed}) for seed in range(6))
    return Plan(design, runs, circumstances.model_copy(update={"threads": 4, "jobs": "auto"}))


@pytest.fixture
def datasets(spec: RunSpec, dataset: Dataset) -> dict[Data, Dataset]:
    return {spec.recipe.data: dataset}  # pyright: ignore[reportUnhashable] pydantic makes frozen models hashable


@pytest.fixture
def chosen(
    plan: Plan, datasets: dict[Data, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Split]:
    """chosen(seconds) on four cores, of a grid that takes so long; a process trains at 1, and measured speeds are those
    of `per_job`: jobs → steps a second of each."""

    class Engine:
        def __init__(self, jobs: int): ...

        def close(self) -> None: ...

    def choose_for(seconds: float, per_job: dict[int, float] | None = None, memory: int = 10**6, **asked: int) -> Split:
        def speeds(engine: object, root: Path, recipe: object, around: object, jobs: int, threads: int) -> list[Speed]:
            assert per_job, "this is not to be measured"
            assert jobs * threads == 4
            return [Speed(steps_per_second=per_job[jobs], bytes=memory)] * jobs

        monkeypatch.setattr(split, "_speeds", speeds)
        monkeypatch.setattr(split, "Processes", Engine)
        monkeypatch.setattr(split.joblib, "cpu_count", lambda **_: 4)
        monkeypatch.setattr(autotune, "serial_seconds", lambda *_: seconds)
        monkeypatch.setattr(autotune, "total_steps", lambda *_: 1_000_000)
        return choose(plan, datasets, tmp_path, OPEN.model_copy(update=asked))

    return choose_for


def test_a_short_grid_is_not_measured(chosen: Callable[..., Split]) -> None:
    """One after the other while workers would not pay for their start; one thread a run where they do."""
    assert (chosen(20.0).jobs, chosen(20.0).threads) == (1, 4)
    assert chosen(200.0) == Split(jobs=4, threads=1, reason="one thread a run, as the grid is too short to measure")


@pytest.mark.parametrize(
    ("per_job", "jobs", "said"),
    [
        ({1: 1.0, 2: 0.9, 4: 0.5}, 4, "4 at once 2.00 times, 2 at once 1.80 times"),
        ({1: 1.0, 2: 0.9, 4: 0.3}, 2, "4 at once 1.20 times, 2 at once 1.80 times"),
        ({1: 1.0, 2: 0.51, 4: 0.2}, 1, "4 at once 0.80 times, 2 at once 1.02 times"),
    ],
)
def test_the_split_that_trains_most_is_taken(
    chosen: Callable[..., Split], per_job: dict[int, float], jobs: int, said: str
) -> None:
    """Several at once have to win by more than what timing is good for."""
    found = chosen(100_000.0, per_job)
    assert found == Split(jobs=jobs, threads=4 // jobs, reason=f"measured, beside one run with 4 threads: {said}")


def test_memory_bounds_the_runs_at_once(chosen: Callable[..., Split], monkeypatch: pytest.MonkeyPatch) -> None:
    """By what one process was seen to need."""
    monkeypatch.setattr(split.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10 * 2**30}))
    found = chosen(100_000.0, {1: 1.0, 2: 0.9, 4: 0.9}, memory=3 * 2**30)
    assert (found.jobs, found.threads) == (2, 2)
    assert found.reason.endswith("2 at once 1.80 times; memory allows no more")


def test_threads_that_are_given_or_recorded_are_kept(
    chosen: Callable[..., Split], events: list[Event], tmp_path: Path
) -> None:
    """More runs of an experiment are computed as its first ones, or no report could compare them."""
    assert chosen(1e9, threads=2) == Split(jobs=2, threads=2, reason="2 threads a run are given")
    write(tmp_path / "runs" / "tiny_trial" / "a run", events)
    assert chosen(1e9) == Split(jobs=4, threads=1, reason="1 threads a run are given")


def test_the_choice_is_said_and_kept(
    plan: Plan,
    datasets: dict[Data, Dataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same command chooses once; nothing of it is left open."""
    asked: list[int] = []

    def find(*_: object) -> Split:
        asked.append(1)
        return Split(jobs=2, threads=1, reason="measured")

    monkeypatch.setattr(split, "choose", find)
    for _ in range(2):
        around = settle(plan, datasets, tmp_path, OPEN).circumstances
        assert (around.jobs, around.threads) == (2, 1)
        assert capsys.readouterr().out == "jobs: 2 at once, 1 thread each (measured)\n"
    assert asked == [1]
    settle(replace(plan, runs=plan.runs[:3]), datasets, tmp_path, OPEN)
    assert asked == [1, 1]


def test_what_fails_while_it_is_measured_leaves_one_at_a_time(
    plan: Plan, datasets: dict[Data, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is kept of it."""

    def fail(*_: object) -> Split:
        raise MemoryError

    monkeypatch.setattr(split, "choose", fail)
    around = settle(plan, datasets, tmp_path, OPEN).circumstances
    assert (around.jobs, around.threads) == (1, 4)
    assert not (tmp_path / "runs" / "jobs.json").exists()


def test_a_worker_tells_how_fast_it_trains(images: Path, circumstances: Circumstances) -> None:
    """Real steps of a real data set, found in the project's cache, and the memory that they took."""
    around = circumstances.model_copy(update={"threads": 1})
    probe = Probe(root=str(images.parent), recipe=EXPERIMENT.base, circumstances=around, seconds=0.0)
    speed = Speed.model_validate_json(train_for_a_while(probe.model_dump_json()))
    assert speed.steps_per_second > 0
    assert speed.bytes > 10**7
