"""Start-up is timed by what a terminal shows: a run's bar, once its first step is done."""

from pathlib import Path

from tests.bench.start_up import copy_project, first_step_seconds

ROOT = Path(__file__).resolve().parents[2]


def test_the_first_step_of_a_real_run_is_seen(tmp_path: Path) -> None:
    assert 0 < first_step_seconds(copy_project(ROOT, tmp_path)) < 600
