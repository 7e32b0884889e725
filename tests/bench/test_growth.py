"""The page about growth follows from what was measured, and a process is charged for itself alone."""

import json
from pathlib import Path

import pytest

from tests.bench.growth import main, timed
from tests.bench.growth_page import Cost, draw, write

DOCS = Path(__file__).resolve().parents[2] / "docs"

WHERE = {"date": "2026-01-02", "command": "make bench-growth", "commit": "0123456789abcdef", "dirty": False,
         "processor": "Some processor", "threads": 2, "memory_gb": 24.1, "load_before": 0.05}  # fmt: skip


def test_the_page_and_its_curves_follow_from_the_costs(tmp_path: Path) -> None:
    """A row a command and number of runs; what was not measured is empty; a store that is measured later joins."""
    costs = [
        Cost("planning", 10_000, 0.84, 0.8, None),
        Cost("`make run`, all made, 100 to deliver", 100, 1.0, 8.0, 841.2),
        Cost("`make run`, all made, 900 to deliver", 1000, 1092.3, 80.0, 1600.4),
        Cost("`make report`", 1000, 60.4, 19.3, 528.0),
    ]
    write(tmp_path, "postgresql", WHERE, costs[-1:])
    write(tmp_path, "sqlite", WHERE, costs)
    text = (tmp_path / "growth.md").read_text()
    assert "commit 0123456789ab: Some processor, 2 cores, 24.1 GB, load 0.05 before." in text
    assert "| planning | 10,000 | 0.8 | 0.8 |  |\n" in text
    assert "| `make run`, all made, 900 to deliver | 1,000 | 1092.3 | 80.0 | 1,600 |\n" in text
    assert "may take 60 s and 1,000 MB; it took 60.4 s and 528 MB: **not kept**." in text
    assert "Processor seconds grow: make run, all made 10.0 times (100 to 1,000 runs).\n" in text
    assert text.index("## SQLite") < text.index("## PostgreSQL")
    assert (tmp_path / "growth.png").stat().st_size
    figure = draw({"sqlite": costs}, tmp_path / "one.png")
    assert [line.get_label() for line in figure.axes[0].lines] == ["planning", "make run, all made", "make report"]


def test_the_page_in_docs_is_the_one_that_its_figures_make(tmp_path: Path) -> None:
    """Nothing in it was written by hand."""
    parts = json.loads((DOCS / "growth.json").read_text())
    for store, part in parts.items():
        write(tmp_path, store, part["where"], [Cost(**cost) for cost in part["costs"]])
    assert (tmp_path / "growth.md").read_text() == (DOCS / "growth.md").read_text()


def test_a_store_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is measured."""
    assert main(["sqlite mysql"]) == 2
    assert capsys.readouterr().err == "error: SECTIONS must be of sqlite, postgresql; got 'mysql'\n"


def test_a_process_is_charged_for_itself_alone(tmp_path: Path) -> None:
    """Not for the memory of the process that starts it, which has more in it here."""
    cost = timed("a small one", 1, ["-c", "b'x' * 30_000_000"], tmp_path)
    assert cost.megabytes
    assert 30 < cost.megabytes < 100
