"""The journal of looks: each look once, whoever is killed while writing."""

from pathlib import Path

from harness.plans.looks import Look
from harness.records import looks


def look(runs: int, time: float = 1.0) -> Look:
    return Look(time=time, seeds=tuple(range(runs)), variants=("batch",), runs=runs)


def test_the_same_results_are_one_look(tmp_path: Path) -> None:
    """A report written twice shows nothing new; more results are another look."""
    looks.note(tmp_path, look(3))
    looks.note(tmp_path, look(3, time=2.0))
    assert looks.note(tmp_path, look(5)) == looks.read(tmp_path) == (look(3), look(5))


def test_a_line_that_was_cut_short_is_no_look(tmp_path: Path) -> None:
    """What a killed process left is passed over, and later looks are kept."""
    looks.note(tmp_path, look(3))
    path = tmp_path / looks.NAME
    path.write_bytes(path.read_bytes() + b'{"time": 3')
    looks.note(tmp_path, look(7))
    assert looks.read(tmp_path) == (look(3), look(7))


def test_nobody_has_looked_yet(tmp_path: Path) -> None:
    """An experiment without a journal of looks."""
    assert looks.read(tmp_path / "none") == ()
