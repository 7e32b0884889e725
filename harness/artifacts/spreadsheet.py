"""CSV files that are safe to open in a spreadsheet: text is never run as a formula, and numbers stay numbers.

OWASP, "CSV Injection": a spreadsheet may run a cell that begins with = + - @, a tab or a line break. Such text gets a
leading apostrophe, which pandas reads as part of the text; so does text with these characters after a semicolon or a
tab, which separate cells in some locales.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile("(^|[;\t\r\n])(?=[=+\\-@\t\r\n＝＋－＠])")


def spelt_out(name: str) -> str:
    """A file name as text; bytes that are not valid UTF-8, which Linux allows in names, are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def write_csv(frame: "pd.DataFrame", file: Path) -> None:
    """Write a table without its index."""
    safe = frame.rename(columns=_safe)
    for column in safe.select_dtypes(exclude="number"):
        safe[column] = safe[column].map(_safe)
    safe.to_csv(file, index=False)


def _safe(value: Any) -> Any:
    return _FORMULA.sub(r"\1'", value) if isinstance(value, str) else value
