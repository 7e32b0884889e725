"""Workers of a grid that are killed, in reduced counts; by `make test-engines`: each worker takes seconds to start."""

from pathlib import Path

import pytest

from tests.chaos import grid


@pytest.mark.engines
@pytest.mark.timeout(3600)
def test_a_disturbed_grid_ends_as_a_calm_one(tmp_path: Path) -> None:
    """Four runs, a worker killed every two seconds, a node of Ray, the command; Ctrl-C; all of it recorded once."""
    broken = [row for row in grid.rows(grid.REDUCED, tmp_path) if not row.kept]
    assert broken == []
