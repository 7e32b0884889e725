"""A disk that fails, at a few operations, and what counts as a breach of the promise."""

import os
import shutil

import pytest

from tests.chaos.attempts import Attempt
from tests.chaos.disk import NO_COMPILER, NO_MOUNT, REDUCED, Trials, _saying, _spread
from tests.chaos.tiny import Projects


@pytest.mark.skipif(shutil.which("cc") is None, reason=NO_COMPILER)
def test_a_failing_disk_costs_one_line(projects: Projects) -> None:
    """ENOSPC from an operation on: one line, the last checkpoint good, then the same end as without."""
    rows = list(Trials(projects).all_failing(REDUCED))
    assert [row.tried for row in rows] == [2]
    assert [row for row in rows if not row.kept] == []


@pytest.mark.skipif(os.geteuid() != 0, reason=NO_MOUNT)
def test_a_full_disk_costs_one_line(projects: Projects) -> None:
    """The same on a small file system that is really full."""
    row = Trials(projects).full(REDUCED.full_disks)
    if row.detail == NO_MOUNT:
        pytest.skip(NO_MOUNT)
    assert row.kept, row


@pytest.mark.parametrize(
    ("status", "stderr", "said"),
    [
        (2, "error: No space left on device\n", ""),
        (1, "error: 1 of 1 runs failed\n", ""),
        (0, "", ""),
        (0, "a warning\n", "status 0, and yet ['a warning']"),
        (2, "error: one\nerror: two\n", "status 2 and 2 lines: ['error: one', 'error: two']"),
        (2, "oh\n", "status 2 and 1 lines: ['oh']"),
        (2, "", "status 2 and 0 lines: []"),
        (-11, "error: one\n", "status -11 and 1 lines: ['error: one']"),
        (1, "Traceback (most recent call last):\n", "a traceback"),
    ],
)
def test_an_error_is_one_line(status: int, stderr: str, said: str) -> None:
    assert _saying(Attempt(status, 1.0, None, "", stderr, 0)) == said


def test_operations_are_spread_evenly() -> None:
    assert _spread(100, 4) == [13, 38, 63, 88]
    assert _spread(3, 3) == [1, 2, 3]
