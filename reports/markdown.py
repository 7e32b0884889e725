"""Render a document as GitHub Markdown. Text is escaped so that it cannot end a table, start markup or become HTML."""

import html
import math
import re
from collections.abc import Sequence
from urllib.parse import quote

from reports.document import Banner, Block, Cell, Document, Heading, Picture, Table, Text, run_list

DASH = "–"
_MARKS = re.compile(r"([\\`*_{}\[\]#|~$!])")
_NUMBER = re.compile(
    r"[+−-]?(?=[.\d])(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?(e[+−-]?\d+)?(?=[\s%]|$)", re.ASCII | re.IGNORECASE
)


def render(document: Document) -> str:
    """The whole document, ending in a newline."""
    return f"# {escape(document.title)}\n\n{render_blocks(document.blocks)}".rstrip() + "\n"


def render_blocks(blocks: Sequence[Block]) -> str:
    """Render blocks without a title."""
    return "\n\n".join(_block(block) for block in blocks)


def escape(text: str) -> str:
    """Escape plain text for any position in a line: markup, HTML and links are disabled, line breaks removed.

    GitHub detects e-mail addresses and mentions after decoding entities and escapes, so a zero-width word joiner is
    inserted after every @.
    """
    line = " ".join(text.split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _MARKS.sub(r"\\\1", line)
    return line.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "@&#8288;")


def shown(cell: Cell) -> str:
    """The text of a cell; a dash if it is empty."""
    return DASH if cell is None or not str(cell).strip() else str(cell)


def is_absent(cell: Cell) -> bool:
    """True if a cell has no value: it is empty, a dash, or NaN."""
    return shown(cell).strip() in (DASH, "-", "nan")


def number(cell: Cell) -> float | None:
    """The number at the start of a cell such as "75.12 ± 0.31", "31,216", "−0.35", "98%" or "< 0.001"; else None."""
    found = _NUMBER.match(str(cell).strip().removeprefix("< "))
    value = float(found[0].replace(",", "").replace("−", "-")) if found else math.nan
    return value if math.isfinite(value) else None


def numeric_columns(table: Table) -> list[bool]:
    """For each column, True if all its cells with a value are numbers."""
    return [
        bool(table.rows) and all(is_absent(row[i]) or number(row[i]) is not None for row in table.rows)
        for i in range(len(table.columns))
    ]


def _paragraph(text: str) -> str:
    """Like `escape`, and also prevents a list or underline at the start of the paragraph."""
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escape(text))


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {escape(block.text)}"
        case Text():
            return _paragraph(block.text) + (f" <sub>{run_list(block.runs)}</sub>" if block.runs else "")
        case Banner():
            return f"> **Note:** {escape(block.text)}"
        case Table():
            return _table(block)
        case Picture():
            images = [f"![{escape(block.caption)}]({quote(file.as_posix())})" for file in block.files]
            return "\n".join([*images, "", _caption(block.caption)]).rstrip()


def _table(table: Table) -> str:
    lines = [
        "| " + " | ".join(escape(column) for column in table.columns) + " |",
        "|" + "|".join(" ---: " if right else " --- " for right in numeric_columns(table)) + "|",
        *("| " + " | ".join(escape(shown(cell)) for cell in row) + " |" for row in table.rows),
    ]
    caption = [_caption(table.caption), ""] if table.caption.strip() else []
    text = "\n".join([*caption, *lines])
    if not table.folded.strip():
        return text
    summary = html.escape(" ".join(table.folded.split()))  # HTML block: entities instead of Markdown
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


def _caption(text: str) -> str:
    return f"*{escape(text)}*" if text.strip() else ""
