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
    assert Row("a", (1.01234, 1.5, 1.0), "x", 1.03, 1.01, True).cells() == [
        "a", "1.012 x (1 to 1.5)", "1.03 x", "1.01 x", "must"]  # fmt: skip
    assert Row("b", (21340.4,), "images/s").cells() == ["b", "21,340 images/s", "", "", ""]


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


def test_text_follows_from_what_is_kept(tmp_path: Path) -> None:
    """Machine, rows and speeds; the CPU's part stays when CUDA's is written, whose rows then need a GPU no more."""
    rows = [Row("ours over theirs", (2.0, 3.0, 2.5), "x", 2.4, 3.0)]
    cpu = table.record(WHERE, rows, {"resnet": {"ours": [200.0, 300.0, 250.0]}})
    text = table.write(tmp_path, "cpu", cpu)
    assert text == (tmp_path / "README.md").read_text()
    assert "| ours over theirs | 2.5 x (2 to 3) | 2.4 x | 3 x | must |\n" in text
    assert "| resnet | ours | 250 images/s (200 to 300) |\n" in text
    assert (
        "2026-01-02, `make bench`, commit 0123456789ab, changed since. Some processor, 2 cores, bf16, 24.1 GB" in text
    )
    command = "| H200, `resnet_onecycle` through the public command | not yet run on a GPU | 14 s | 7 s |  |\n"
    assert command in text
    both = table.write(tmp_path, "cuda", table.record(WHERE | {"device": "H200"}, rows, {}))
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert kept["cpu"] == json.loads(json.dumps(cpu))
    assert (kept["cuda"]["rows"][0]["median"], kept["cuda"]["rows"][0]["verdict"]) == (2.5, "must")
    assert both.index("## CPU") < both.index("## CUDA") < both.index("device H200")
    assert command not in both
    assert both.count("not yet run on a GPU") == len(table.NEEDS_A_GPU) - 2
