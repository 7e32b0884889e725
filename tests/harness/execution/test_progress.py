"""What runs print into a pipe or a file: whole lines, that no terminal has to obey."""

import pytest

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
