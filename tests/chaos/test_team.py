"""What `make chaos` promises of a team's server, in small: the same section with reduced counts."""

from pathlib import Path

import pytest

from tests.chaos import team
from tests.harness.postgres import missing


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_nothing_is_lost_and_nothing_twice_when_the_server_is_killed(tmp_path: Path) -> None:
    """Eight deliveries at once through `make server AUTH=1` over PostgreSQL, SIGKILL and a new start in between."""
    made = list(team.rows(team.REDUCED, tmp_path))
    assert [row for row in made if not row.kept] == []
    assert len(made) == 7
