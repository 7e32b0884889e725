"""Render a report as one HTML file with its style and script; pictures are embedded too, or beside it.

Jinja escapes all text; the content security policy allows only the style and script from `templates/`.
"""

import base64
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from reports.document import Banner, Block, Cell, Document, Heading, Picture, Table, Text, run_list
from reports.markdown import is_absent, number, numeric_columns, shown

TEMPLATES = Path(__file__).parent / "templates"
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
LONG_TEXT = 40
"""Table cells with more characters than this may wrap; shorter ones stay on one line."""
WIDE = 600
"""Pictures wider than this many pixels scroll on narrow screens instead of being scaled down."""

RunIds = Mapping[int, Mapping[str, str]]
"""Index of a table's block → run ("R1") → the id of its row."""
Panel = dict[str, str | int | bool]
"""A picture as the template needs it: source, width and height in pixels, and whether it is wide."""


def render(document: Document, folder: Path, linked: bool = False) -> str:
    """Render the page.

    Args:
        folder: the folder with the document's pictures.
        linked: refer to the pictures as files beside the page, which must then be written to `folder`, instead of
            embedding them.

    Raises:
        FileNotFoundError: a picture is not in `folder`.
        PIL.UnidentifiedImageError: a picture is not an image file.
    """
    pictures = "'self' data:" if linked else "data:"  # the icon is data in both
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return _ENVIRONMENT.get_template("report.html.j2").render(
        title=document.title,
        blocks=_views(document.blocks, functools.partial(_picture, folder, linked)),
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; img-src {pictures}; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
    )


def _hash(text: str) -> str:
    """The hash by which a content security policy allows an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _views(blocks: Sequence[Block], picture: Callable[[Path], Panel]) -> list[dict[str, Any]]:
    """Every block in the form that the template needs."""
    used: set[str] = set()
    runs = {at: _run_ids(block, used) for at, block in enumerate(blocks) if isinstance(block, Table)}
    return [_view(at, block, picture, used, runs) for at, block in enumerate(blocks)]


def _view(at: int, block: Block, picture: Callable[[Path], Panel], used: set[str], runs: RunIds) -> dict[str, Any]:
    match block:
        case Heading():
            assert 2 <= block.level <= 6, block
            return {"kind": "heading", "text": block.text, "level": block.level, "id": _unique(_slug(block.text), used)}
        case Text():
            return {"kind": "text", "text": block.text, "runs": _references(block, at, runs)}
        case Banner():
            return {"kind": "banner", "text": block.text}
        case Table():
            return _table(block, runs[at])
        case Picture():
            panels = [picture(file) for file in block.files]
            shown_as = "photographs" if block.photographs else "plot"
            return {"kind": "picture", "caption": block.caption, "panels": panels, "shown_as": shown_as}


def _slug(text: str) -> str:
    """An id in ASCII, unlike `harness.values.slug`, so that a link to it is the same percent-encoded or not."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"


def _unique(wanted: str, used: set[str]) -> str:
    """The first unused id of `wanted`, `wanted-2`, `wanted-3`, …, which is then marked as used."""
    name, count = wanted, 1
    while name in used:
        count += 1
        name = f"{wanted}-{count}"
    used.add(name)
    return name


def _run_ids(table: Table, used: set[str]) -> dict[str, str]:
    labels = [str(row[0]) for row in table.rows if re.fullmatch(r"R[0-9]+", str(row[0]))]
    assert len(set(labels)) == len(labels), labels
    return {label: _unique(label, used) for label in labels}


def _references(text: Text, at: int, runs: RunIds) -> list[tuple[str, str | None]]:
    """Split "R1–R3, R7" into parts: each run with the id of its row, text in between with None."""
    parts = re.split(r"(R[0-9]+)", run_list(text.runs)) if text.runs else []
    return [(part, _row_id(part, at, runs)) for part in parts if part]


def _row_id(run: str, at: int, runs: RunIds) -> str | None:
    """The id of a run's row in the next table after the sentence, as each experiment numbers its own runs."""
    holding = [place for place, ids in runs.items() if run in ids]
    after = [place for place in holding if place > at]
    place = after[0] if after else holding[-1] if holding else None
    return None if place is None else runs[place][run]


def _table(table: Table, ids: Mapping[str, str]) -> dict[str, Any]:
    numeric = numeric_columns(table)
    columns = [{"text": text, "numeric": right} for text, right in zip(table.columns, numeric, strict=True)]
    rows = [
        {
            "id": ids.get(str(row[0])),
            "cells": [_cell(cell, right) for cell, right in zip(row, numeric, strict=True)],
        }
        for row in table.rows
    ]
    return {"kind": "table", "columns": columns, "rows": rows, "caption": table.caption, "folded": table.folded.strip()}


def _cell(cell: Cell, numeric: bool) -> dict[str, Any]:
    text = shown(cell)
    wraps = len(text) > LONG_TEXT and " " in text
    return {
        "text": text,
        "kind": "number" if numeric else "long" if wraps else "",
        "value": number(cell) if numeric else None,
        "absent": is_absent(cell),
    }


def _picture(folder: Path, linked: bool, file: Path) -> Panel:
    """The picture with its size, so that the layout does not shift when it is loaded."""
    data = (folder / file).read_bytes()
    with Image.open(BytesIO(data)) as image:
        kind, (width, height) = image.get_format_mimetype(), image.size
    source = quote(file.as_posix()) if linked else f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return {"source": source, "width": width, "height": height, "wide": width > WIDE}
