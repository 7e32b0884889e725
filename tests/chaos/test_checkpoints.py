"""Damaged checkpoints, a few of each kind."""

import random

import pytest

from tests.chaos import checkpoints
from tests.chaos.checkpoints import DAMAGES, REDUCED
from tests.chaos.tiny import Projects


def test_damaged_checkpoints_are_passed_over(projects: Projects) -> None:
    """Each kind once: the run takes the step after the older checkpoint's; once, it goes on to the same end."""
    rows = list(checkpoints.tried(REDUCED, projects))
    assert [row.tried for row in rows] == [len(DAMAGES), 1]
    assert [row for row in rows if not row.kept] == []


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_done(kind: str) -> None:
    """Every kind changes the file, wherever its random numbers strike."""
    whole, other = bytes(range(256)) * 64, bytes(20_000)
    for seed in range(50):
        assert DAMAGES[kind](whole, other, random.Random(seed)) != whole
