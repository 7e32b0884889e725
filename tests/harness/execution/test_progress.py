"""What runs print into a pipe or a file: whole lines, that no terminal has to obey."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

import harness.execution.progress
from harness.execution.progress import Progress
from harness.plans.experiment import Design
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, RunSpec
from harness.records.events import EpochDone, Event
from harness.training.loop import StepDone


def test_a_pipe_gets_lines_and_nothing_else(
    spec: RunSpec,
    design: Design,
    circumstances: Circumstances,
    events: list[Event],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No carriage return, no colour, whether or not NO_COLOR is set: one line an epoch, none a step."""
    for no_color in ("", "1"):
        monkeypatch.setenv("NO_COLOR", no_color)
        show = Progress(Plan(design, (spec,), circumstances))
        show.start([spec])
        for event in events:
            if isinstance(event, EpochDone):
                for step in range(event.step - 4, event.step + 1):
                    show.event(spec, StepDone(step=step, total=10))
            show.event(spec, event)
        show.close()
        out, err = capfd.readouterr()
        assert not {"\r", "\x1b"} & set(out + err)
        assert err == ""
        lines = [line for line in out.splitlines() if "  epoch " in line]
        assert len(lines) == 2
        assert out.endswith("\n")


def test_the_time_left_counts_what_this_command_made(
    plan: Plan, events: list[Event], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three runs of eight epochs, one made before, one taken up after seven: an epoch of 60 s leaves eight like it."""
    clock = iter([0.0, 60.0])
    monkeypatch.setattr(harness.execution.progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    eight = plan.runs[0].recipe.model_copy(update={"epochs": 8})
    long = replace(plan, runs=tuple(spec.model_copy(update={"recipe": eight}) for spec in plan.runs))
    show = Progress(long)
    show.skip(long.runs[0])
    show.start([long.runs[1]])
    for step in range(36, 41):
        show.event(long.runs[1], StepDone(step, total=40))
    show.event(long.runs[1], events[2].model_copy(update={"epoch": 8, "step": 40}))
    assert capsys.readouterr().out.rstrip().endswith("left about 08:00")
