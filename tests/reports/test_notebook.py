"""What a notebook is given: a tidy frame of results, and a report as a page."""

from pathlib import Path

import pytest

import reports
from reports import notebook
from tests.reports.records import selection


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = selection(tmp_path)
    monkeypatch.setattr(notebook, "Tracker", lambda _: None)
    monkeypatch.setattr(notebook, "select", lambda _, name: made)
    return tmp_path


def test_results_are_a_row_a_run_with_what_differs(recorded: Path) -> None:
    """The fields in which variants differ are columns of their own, so that no name has to be parsed."""
    frame = reports.results("norms", root=recorded)
    assert list(frame.columns[:5]) == ["run", "variant", "model.norm", "seed", "test_accuracy"]
    assert list(frame["model.norm"]) == ["batch"] * 3 + ["group"] * 3
    assert frame["test_accuracy"].between(0, 1).all()


def test_a_report_is_shown_as_its_page(recorded: Path) -> None:
    page = reports.report("norms", root=recorded)
    assert repr(page) == str(recorded / "reports" / "out" / "norms-notebook" / "report.html")
    shown = page._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!DOCTYPE html&gt;')
    assert shown.count("<") == 2
