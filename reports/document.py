"""The content of a report, independent of Markdown and HTML. All text is plain; renderers escape it."""

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
    """A paragraph. A claim carries the numbers of the runs that support it (R1, R2, …)."""

    text: str
    runs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Banner:
    """A prominent warning."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table; numbers are formatted as text, None is shown as a dash."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    folded: str = ""
    """If given, the table is collapsed below this line."""


@dataclass(frozen=True)
class Picture:
    """An image file beside the report, or several panels of one figure, with a caption."""

    file: Path
    """Path relative to the report's folder."""
    caption: str
    panels: tuple[Path, ...] = ()
    """Further panels, shown beside the first if there is room, otherwise below it."""
    photographs: bool = False
    """True if the file shows images themselves, which a dark page must not invert."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.file, *self.panels)


Block = Heading | Text | Banner | Table | Picture


@dataclass(frozen=True)
class Document:
    title: str
    blocks: tuple[Block, ...]


def run_list(runs: Sequence[int]) -> str:
    """Format run numbers: (1, 2, 3, 7) → "R1–R3, R7"."""
    parts: list[list[int]] = []
    for run in sorted(set(runs)):
        if parts and run == parts[-1][-1] + 1:
            parts[-1].append(run)
        else:
            parts.append([run])
    return ", ".join(f"R{part[0]}" if len(part) == 1 else f"R{part[0]}–R{part[-1]}" for part in parts)
