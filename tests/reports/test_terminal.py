"""A table on the terminal: aligned, and nothing in it that a terminal would obey."""

from reports.document import Table
from reports.terminal import render


def test_columns_are_aligned_and_numbers_stand_right() -> None:
    table = Table(("variant", "seeds"), [("batch", 10), ("a\x1b[31m", None)])
    assert render(table) == "variant  seeds\nbatch       10\na [31m       –"
