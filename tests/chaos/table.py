"""What a section of `make chaos` reports: promises, how often each was tried and how often it held.

A section is a module of this folder with `rows(counts, folder)`: it works in `folder`, an empty one, and yields a
`Row` for every promise as soon as it is known. Its `FULL` and `REDUCED` say how much `make chaos` and the tests try.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One promise; `detail` names what did not hold, or what the count consists of."""

    promise: str
    tried: int
    held: int
    detail: str = ""

    @property
    def kept(self) -> bool:
        """Whether it held every time, and was tried at all."""
        return self.held == self.tried > 0


def markdown(rows: Iterable[Row]) -> str:
    """A table of promises, the broken ones in bold."""
    lines = ["| promise | tried | held | |", "| --- | ---: | ---: | --- |"]
    for row in rows:
        held = str(row.held) if row.kept else f"**{row.held}**"
        detail = " ".join(row.detail.split()).replace("|", "\\|")
        lines.append(f"| {row.promise} | {row.tried} | {held} | {detail} |")
    return "\n".join(lines) + "\n"
