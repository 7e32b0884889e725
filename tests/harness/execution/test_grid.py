"""Many runs at once, through real workers: the same numbers as one after the other; nothing lost, nothing twice."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.execution.execute import Outcome
from tests.harness.execution.engines.conftest import Numbers, calm, images, make_grid, numbers

__all__ = ["calm", "images", "make_grid"]


def test_runs_in_two_processes_are_the_same_runs(
    make_grid: Callable[..., Outcome], calm: Numbers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JOBS=2: the same weights and scores; a line a run, without a carriage return; nothing left but the runs."""
    assert make_grid(jobs=2) == Outcome()
    assert numbers(tmp_path) == calm
    out, err = capsys.readouterr()
    assert "\r" not in out + err
    lines = out.splitlines()
    assert len([line for line in lines if ": test " in line]) == 4
    assert lines[-1].endswith("  4 of 4 done")
    assert [path.suffix for path in (tmp_path / "runs" / "tiny_grid").iterdir() if path.is_file()] == []
    assert make_grid(jobs=2) == Outcome()
    assert capsys.readouterr().out.count("already made\n") == 4
