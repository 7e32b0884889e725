"""A document as GitHub Markdown. No text in it can end a table, start markup or become HTML."""

import re

from reports.document import Banner, Block, Cell, Document, Heading, Picture, Table, Text, run_list

_MARKS = re.compile(r"([\\`*_{}\[\]#|~$!])")


def render(document: Document) -> str:
    """The whole document, ending in a newline."""
    parts = [f"# {escape(document.title)}", *(_block(block) for block in document.blocks)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Plain text as Markdown shows it anywhere in a line: marks escaped, HTML as entities, no link, one line."""
    line = " ".join(text.split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    line = _MARKS.sub(r"\\\1", line)
    return line.replace("://", "&#58;//").replace("www.", "www&#46;")


def _paragraph(text: str) -> str:
    """As `escape`, and no list or underline begins where the paragraph does."""
    return re.sub(r"^([-+=]|\d+(?=[.)]))", r"&#8203;\1", escape(text))


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
            return f"![{escape(block.caption)}]({block.file.as_posix()})"


def _table(table: Table) -> str:
    numeric = [all(_is_number(row[i]) for row in table.rows) for i in range(len(table.columns))]
    lines = [
        "| " + " | ".join(escape(column) for column in table.columns) + " |",
        "|" + "|".join(" ---: " if right else " --- " for right in numeric) + "|",
        *("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows),
    ]
    caption = [f"*{escape(table.caption)}*", ""] if table.caption else []
    return "\n".join([*caption, *lines])


def _cell(cell: Cell) -> str:
    return "–" if cell is None or cell == "" else escape(str(cell))


def _is_number(cell: Cell) -> bool:
    return cell is None or bool(re.match(r"^[+−-]?[\d.,]+", str(cell)))
