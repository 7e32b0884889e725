"""The benchmark's table: what counts as reached, and that its text follows from its JSON."""

import json
from pathlib import Path

import pytest

from tests.bench import table
from tests.bench.table import Row


@pytest.mark.parametrize(
    ("values", "less", "verdict"),
    [
        ((2.3, 2.39, 9.0), False, "**no**"),
        ((2.4,), False, "must"),
        ((1.0, 3.0, 3.5), False, "aim"),
        ((4.0, 9.0, 0.1), True, "**no**"),
        ((3.0,), True, "must"),
        ((0.1, 2.4, 9.0), True, "aim"),
    ],
)
def test_the_median_decides_what_is_reached(values: tuple[float, ...], less: bool, verdict: str) -> None:
    """Goals are reached when they are met, from above or from below; one value or outliers decide nothing else."""
    goals = (3.0, 2.4) if less else (2.4, 3.0)
    assert Row("it", values, "x", *goals, less).verdict == verdict
    must_alone = Row("it", values, "x", goals[0], less_is_better=less).verdict
    assert must_alone == verdict.replace("aim", "must")


def test_cells_show_median_range_and_goals() -> None:
    """Four digits, thousands whole; no range of one value, no verdict without goals."""
    row = Row("a", (1.01234, 1.5, 1.0), "x", 1.03, 1.01, True)
    assert (row.measured, row.goals) == ("1.012 x (1 to 1.5), must", ["1.03 x", "1.01 x"])
    row = Row("b", (21340.4,), "images/s")
    assert (row.measured, row.goals) == ("21,340 images/s", ["", ""])


WHERE = {
    "date": "2026-01-02",
    "command": "make bench",
    "commit": "0123456789abcdef",
    "dirty": True,
    "processor": "Some processor",
    "device": "cpu",
    "threads": 2,
    "bf16": True,
    "memory_gb": 24.1,
    "load_before": 0.05,
    "python": "3.11.7",
    "versions": {"torch": "2.14.1"},
}


def test_a_column_a_machine_follows_from_what_is_kept(tmp_path: Path) -> None:
    """Rows that one machine alone has stay beside the other's; measured again, its column is replaced; CUDA's rows need
    a GPU no more."""
    ours = Row("ours over theirs", (2.0, 3.0, 2.5), "x", 2.4, 3.0)
    first = table.record(
        WHERE, [ours, Row("bf16 alone", (1.5,), "x", 2.0)], {"resnet": {"ours": [200.0, 300.0, 250.0]}}
    )
    text = table.write(tmp_path, first)
    assert text == (tmp_path / "README.md").read_text()
    assert "| ours over theirs | 2.4 x | 3 x | 2.5 x (2 to 3), must |\n" in text
    assert "| resnet | ours | 250 (200 to 300) |\n" in text
    assert (
        "| A | Some processor, 2 cores, bf16, 24.1 GB | 2026-01-02, `make bench`, commit 0123456789ab, changed" in text
    )
    command = "| H200, `resnet_onecycle` through the public command | not yet run on a GPU | 14 s | 7 s |\n"
    assert command in text
    other = WHERE | {"bf16": False, "device": "H200"}
    both = table.write(tmp_path, table.record(other, [ours], {"resnet": {"theirs": [9.0]}}))
    assert "| ours over theirs | 2.4 x | 3 x | 2.5 x (2 to 3), must | 2.5 x (2 to 3), must |\n" in both
    assert "| bf16 alone | 2 x |  | 1.5 x, **no** |  |\n" in both
    assert "| resnet | theirs |  | 9 |\n" in both
    assert "| B | Some processor, 2 cores, no bf16, 24.1 GB, H200 |" in both
    assert command not in both
    assert both.count("not yet run on a GPU") == len(table.NEEDS_A_GPU) - 2
    again = table.write(tmp_path, table.record(WHERE, [Row("ours over theirs", (4.0,), "x", 2.4, 3.0)], {}))
    assert [part["machine"]["device"] for part in json.loads((tmp_path / "bench.json").read_text())] == ["H200", "cpu"]
    assert "| ours over theirs | 2.4 x | 3 x | 2.5 x (2 to 3), must | 4 x, aim |\n" in again
