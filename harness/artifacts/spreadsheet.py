"""CSV files that a spreadsheet opens as they are: a name is never a formula, a number always a number.

OWASP, "CSV Injection": a cell that begins with one of = + - @, a tab or a line's end may be run. Such text gets an
apostrophe in front, which pandas reads as part of it; also after a semicolon or a tab, which part cells where a comma
does not.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile("(^|[;\t\r\n])(?=[=+\\-@\t\r\n＝＋－＠])")


def write_csv(frame: "pd.DataFrame", file: Path) -> None:
    """Write a table without its index."""
    safe = frame.rename(columns=_safe)
    for column in safe.select_dtypes(exclude="number"):
        safe[column] = safe[column].map(_safe)
    safe.to_csv(file, index=False)


def _safe(value: Any) -> Any:
    return _FORMULA.sub(r"\1'", value) if isinstance(value, str) else value
