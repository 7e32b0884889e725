"""Kills and stops: the promise in small, and what counts as a breach of it."""

import signal

import pytest

from tests.chaos import kills
from tests.chaos.attempts import Attempt
from tests.chaos.kills import REDUCED, _stopping
from tests.chaos.points import POINTS
from tests.chaos.tiny import Projects


def test_killed_and_stopped_runs_end_as_if_nothing_had_been(projects: Projects) -> None:
    """SIGKILL and SIGTERM in the middle of a checkpoint, SIGKILL at a random time: the same end bit for bit."""
    rows = list(kills.tried(REDUCED, projects))
    assert [row.tried for row in rows] == [1, 1, 1]
    assert [row for row in rows if not row.kept] == []


def test_there_are_a_dozen_points() -> None:
    assert len(POINTS) >= 12


@pytest.mark.parametrize(
    ("status", "seconds", "stderr", "said"),
    [
        (143, 1.0, "stopping at the next step", ""),
        (-15, 1.0, "", ""),
        (130, 1.0, "", "status 130"),
        (0, 1.0, "", "status 0"),
        (143, 10.5, "", "stopped after 10.5 s"),
        (143, 1.0, "Traceback (most recent call last):", "a traceback"),
    ],
)
def test_a_stop_is_held_to_its_promise(status: int, seconds: float, stderr: str, said: str) -> None:
    """SIGTERM: 143 (or the signal itself, before anything has begun), in time, without a traceback."""
    assert _stopping(Attempt(status, 20.0, seconds, "", stderr, 0), signal.SIGTERM) == said
