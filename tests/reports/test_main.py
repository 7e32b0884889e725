"""The reports' command line: what stands in the way of a report is one line, and says how to go on."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import reports.__main__
from reports.__main__ import main
from tests.reports.records import selection

ROOT = Path(__file__).resolve().parents[2]
NO_SERVER = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("command", "again"), [("write", 'make report EXP="a b"'), ("publish", 'make publish EXP="a b"')]
)
def test_a_report_without_its_store_says_how_to_go_on(
    command: str, again: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a `make run` whose server was down: the runs are there, and two commands later so is the report."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NO_SERVER)
    assert main([command, "a b"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"error: a report is made from the store: the tracking server '{NO_SERVER}' does not answer ("
    )
    assert line.endswith(f"); start it, then: make sync, {again}")


def test_results_are_shown_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Variants, comparisons and runs, as text and nothing else, and no file."""
    made, store = selection(tmp_path), SimpleNamespace(require_answer=lambda: None)
    monkeypatch.setattr(reports.__main__, "Tracker", lambda _: SimpleNamespace(store=store))
    monkeypatch.setattr(reports.__main__, "select", lambda *_: made)
    assert main(["results", "norms"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("norms: Which norm?\n\nvariant  seeds  test accuracy %")
    assert "\nR6   group " in shown
    assert not {"\r", "\x1b", "|"} & set(shown)


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_ctrl_c_prints_nothing(seconds: float) -> None:
    """During the imports, and while it is at work: ended by the signal, without a traceback."""
    command = [sys.executable, "-m", "reports", "check"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == -signal.SIGINT
