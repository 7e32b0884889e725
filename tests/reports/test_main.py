"""The reports' command line: what stands in the way of a report is one line, and says how to go on."""

import pytest

from reports.__main__ import main

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
