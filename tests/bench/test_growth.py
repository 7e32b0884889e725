"""The page about growth follows from what was measured, and a process is charged for itself alone."""

from pathlib import Path

from tests.bench.growth import Cost, draw, markdown, timed

WHERE = {"date": "2026-01-02", "command": "make bench-growth", "commit": "0123456789abcdef", "dirty": False,
         "processor": "Some processor", "threads": 2, "memory_gb": 24.1, "load_before": 0.05}  # fmt: skip


def test_the_page_and_its_curve_follow_from_the_costs(tmp_path: Path) -> None:
    """A row a command and number of runs; what was not measured is empty; runs to deliver part no line in two."""
    costs = [
        Cost("planning", 10_000, 0.84, 0.8, None),
        Cost("`make run`, all made, 10 to deliver", 10, 1.0, 8.3, 841.2),
        Cost("`make run`, all made, 1,900 to deliver", 2000, 1092.3, 244.9, 1600.4),
    ]
    text = markdown(WHERE, costs, "growth.png")
    assert "commit 0123456789ab: Some processor, 2 cores, 24.1 GB, load before 0.05." in text
    assert "| planning | 10,000 | 0.8 | 0.8 |  |\n" in text
    assert "| `make run`, all made, 1,900 to deliver | 2,000 | 1092.3 | 244.9 | 1,600 |\n" in text
    figure = draw(costs, tmp_path / "growth.png")
    assert [line.get_label() for line in figure.axes[0].lines] == ["planning", "make run, all made"]
    assert (tmp_path / "growth.png").stat().st_size


def test_a_process_is_charged_for_itself_alone(tmp_path: Path) -> None:
    """Not for the memory of the process that starts it, which has more in it here."""
    cost = timed("a small one", 1, ["-c", "b'x' * 30_000_000"], tmp_path)
    assert cost.megabytes
    assert 30 < cost.megabytes < 100
