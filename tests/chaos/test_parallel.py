"""What `make chaos` promises of runs begun at once, in small: the same section with reduced counts."""

from pathlib import Path

from tests.chaos import parallel


def test_a_fresh_store_survives_many_at_once(tmp_path: Path) -> None:
    """Every process ends with 0, every run is in its own experiment, the store has one schema."""
    made = list(parallel.rows(parallel.REDUCED, tmp_path))
    assert [row for row in made if not row.kept] == []
    assert len(made) == 4
