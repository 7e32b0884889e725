"""make plan: a forecast by short runs, which leave nothing behind, and what it is made of."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.commands import plan
from harness.data.load import Dataset
from harness.execution import forecast
from harness.plans.experiment import Design
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, RunSpec

FOUND = forecast.Forecast(
    step_seconds=0.5, evaluate_seconds=3.0, other_seconds=4.0, steps=100, epochs=2, bytes=2_000_000
)


@pytest.fixture
def planned(spec: RunSpec, design: Design, circumstances: Circumstances) -> Plan:
    again = spec.model_copy(update={"seed": 1})
    return Plan(design, (spec, again), circumstances)


def test_a_forecast_is_of_the_whole_run(
    planned: Plan, spec: RunSpec, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two short runs the way of a real one, in a folder that is gone: every step, every evaluated image, the rest."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = forecast.forecast(spec, planned, dataset, workers=0)
    assert (found.steps, found.epochs) == (10, 2)
    assert 0 < found.step_seconds < 5
    assert found.other_seconds > forecast.DELIVERY_SECONDS
    assert found.bytes > 100_000
    assert found.seconds == pytest.approx(10 * found.step_seconds + 2 * found.evaluate_seconds + found.other_seconds)
    assert list(tmp_path.iterdir()) == []


def test_costs_are_the_sum_of_the_missing_runs(planned: Plan, spec: RunSpec) -> None:
    """Seconds of one run times the runs, and the start of the command; core hours by the threads."""
    said = plan.costs(planned, planned.runs, {spec.variant: FOUND}, start=4.5)
    assert said == [
        "plain: 500 ms a step, 60 s a run",
        "time: about 2.1 min on 1 of this machine's cores, one run after the other; the report comes on top",
        "cost: about 0.035 core hours",
        "disk: about 4 MB in runs/, and at most as much again in MLflow's artifacts",
    ]
    assert plan.costs(planned, [], {}, start=4.5) == ["time: none; every run is made"]


def test_long_steps_have_no_exponent_and_one_hour_is_one(planned: Plan, spec: RunSpec) -> None:
    slow = replace(FOUND, step_seconds=9.871, other_seconds=3600 - 6 - 1184.52, steps=120, epochs=0)
    said = plan.costs(planned, planned.runs[:1], {spec.variant: slow}, start=6)
    assert said[0].startswith("plain: 9,870 ms a step, ")
    assert said[2] == "cost: about 1 core hour"


def test_what_would_run_is_described(planned: Plan, spec: RunSpec) -> None:
    """The question, runs, seeds, what is made already, and how long each is."""
    assert plan.described(planned, [spec]) == [
        "tiny_trial: Does it learn?",
        "runs: 2, of plain with seeds 0, 1; made already: 1",
        "each: 2 epochs of folder:tiny in batches of 16",
    ]


def test_times_are_said_in_the_unit_that_fits() -> None:
    assert [plan.lasting(seconds) for seconds in (5.4, 119, 130, 7100, 7200, 86_400 * 3)] == [
        "5 s", "119 s", "2.2 min", "118 min", "2 h", "3 days"]  # fmt: skip
