"""A report as values: what it says, before it is Markdown or HTML. All text is plain; whoever renders it escapes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Cell = str | int | float | None


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph. One that claims something carries the numbers of the runs it rests on (R1, R2, …)."""

    text: str
    runs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Banner:
    """What a reader must not miss."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; numbers come formatted, None is shown as a dash."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    folded: str = ""
    """Where given, the table is shown only when this line is opened."""


@dataclass(frozen=True)
class Picture:
    """An image file beside the report, or several panels of one figure, and what it shows."""

    file: Path
    """Relative to the report's folder."""
    caption: str
    panels: tuple[Path, ...] = ()
    """Further files: beside the first where there is room, under it where there is not."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.file, *self.panels)


Block = Heading | Text | Banner | Table | Picture


@dataclass(frozen=True)
class Document:
    title: str
    blocks: tuple[Block, ...]


def run_list(runs: Sequence[int]) -> str:
    """(1, 2, 3, 7) → "R1–R3, R7"."""
    parts: list[list[int]] = []
    for run in sorted(set(runs)):
        if parts and run == parts[-1][-1] + 1:
            parts[-1].append(run)
        else:
            parts.append([run])
    return ", ".join(f"R{part[0]}" if len(part) == 1 else f"R{part[0]}–R{part[-1]}" for part in parts)
