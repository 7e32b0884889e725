"""`write_csv`: no cell can be a formula, whatever parts cells; pandas reads back numbers and names."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from harness.artifacts.spreadsheet import spelt_out, write_csv

FORMULA = tuple("=+-@\t\r\n＝＋－＠")
NAMES = ["=1+2", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "a;=1", "a,=1", 'a";=1', "'=1", "-0.5", "plain"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_cell_is_a_formula(tmp_path: Path, delimiter: str) -> None:
    """Names and headers, read as a spreadsheet would in countries of either separator."""
    write_csv(pd.DataFrame({name: [name] for name in NAMES}), tmp_path / "a.csv")
    write_csv(pd.DataFrame({"name": NAMES}), tmp_path / "b.csv")
    for file in ("a.csv", "b.csv"):
        text = (tmp_path / file).read_bytes().decode()
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            assert not [cell for cell in row if cell.startswith(FORMULA)], row


def test_pandas_reads_what_was_written(tmp_path: Path) -> None:
    """Numbers keep their types and signs, absent values are absent, names differ by an apostrophe at most."""
    frame = pd.DataFrame(
        {
            "n": [-1, 2],
            "x": [-0.5, None],
            "mixed": pd.Series([-0.25, None], dtype=object),
            "-y": ["-1", "b"],
            "ok": True,
        }
    )
    write_csv(frame, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == ("n,x,mixed,'-y,ok\n-1,-0.5,-0.25,'-1,True\n2,,,b,True\n")
    back = pd.read_csv(tmp_path / "t.csv")
    expected = pd.DataFrame(
        {"n": [-1, 2], "x": [-0.5, None], "mixed": [-0.25, None], "'-y": ["'-1", "b"], "ok": [True, True]}
    )
    pd.testing.assert_frame_equal(back, expected)


def test_a_name_that_is_not_utf8_is_spelt_out() -> None:
    """A run that gets such an image wrong would otherwise fail at its very end, for want of a CSV file."""
    assert spelt_out("cat/\udcff.png") == "cat/\\udcff.png"
    assert spelt_out("cat/é.png") == "cat/é.png"
