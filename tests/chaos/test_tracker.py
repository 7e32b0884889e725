"""What `make chaos` promises of the tracking server, in small: the same section with reduced counts."""

from pathlib import Path

from tests.chaos import tracker


def test_every_fact_is_recorded_once(tmp_path: Path) -> None:
    """Server never started, then hanging, answers lost, runs killed and begun again, server killed under four runs."""
    made = list(tracker.rows(tracker.REDUCED, tmp_path))
    assert [row for row in made if not row.kept] == []
    assert len(made) == 16
