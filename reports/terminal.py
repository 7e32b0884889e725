"""Render tables for a terminal: aligned columns, numbers to the right, without colours or control characters."""

from reports.document import Table
from reports.markdown import numeric_columns, shown


def render(table: Table) -> str:
    """Render a table as lines of text, column names first, without its caption."""
    right = numeric_columns(table)
    cells = [[_plain(str(name)) for name in table.columns], *([_plain(shown(c)) for c in row] for row in table.rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(table.columns))]
    lines = [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)) for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)
