"""What `reports.markdown` promises: whatever the names in a report are, a reader gets exactly the document's texts."""

import html
import itertools
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from reports.document import Banner, Block, Document, Heading, Picture, Table, Text, run_list
from reports.markdown import escape, is_absent, number, numeric_columns, render, shown

FRAGMENTS = [
    "<script>alert(1)</script>",
    "](javascript:x)",
    '"onload=',
    "<b>",
    "<!--",
    "-->",
    "<script",
    "[a](b)",
    "![a](b)",
]
FRAGMENTS += [
    "[a]: b",
    "|",
    "\\",
    "\\|",
    "`",
    "```",
    "~~~",
    "~~",
    "*",
    "**",
    "_",
    "__",
    "#",
    ">",
    "-",
    "+",
    "1.",
    "2)",
    "=",
]
FRAGMENTS += [
    "&lt;",
    "&#124;",
    "&amp;",
    "https://x.org",
    "www.x.org",
    "a@x.org",
    "$x$",
    "[^1]",
    "{x}",
    "!",
    " ",
    "\n",
    "a",
]
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\u2060")
hostile = st.lists(st.sampled_from(FRAGMENTS) | st.text(CHARACTERS, max_size=4), min_size=1, max_size=6).map("".join)
told = hostile.filter(str.strip)
cells = st.none() | hostile | st.integers() | st.floats()
tables = st.integers(1, 4).flatmap(
    lambda width: st.builds(
        Table,
        st.tuples(*[hostile] * width),
        st.lists(st.tuples(*[cells] * width), max_size=3),
        st.just("") | told,
    )
)
pictures = st.builds(Picture, st.sampled_from(["figures/a.png", "figures/a (b) c.png", "ü/<x>.png"]).map(Path), told)
blocks = st.one_of(
    st.builds(Heading, told, st.integers(2, 4)),
    st.builds(Text, told, st.lists(st.integers(1, 20), max_size=4).map(tuple)),
    st.builds(Banner, told),
    tables,
    pictures,
)

Piece = tuple[str, str]


def read(markdown: str) -> list[tuple[str, list[Piece]]]:
    """Every line of text that a Markdown reader makes: its element, and the kind and content of each piece in it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    found = []
    for opener, token in itertools.pairwise(tokens):
        if token.type == "inline":
            found.append((opener.tag, [piece for child in token.children or [] if (piece := read_piece(child))[1]]))
        assert token.type not in ("html_block", "fence", "code_block", "hr", "list_item_open"), token
    return found


def read_piece(token: Token) -> Piece:
    content = token.attrs["src"] if token.type == "image" else token.content or token.markup
    return token.type, str(content).replace("\u2060", "")


def meant(block: Block) -> list[tuple[str, list[Piece]]]:
    """What `read` must find for a block."""
    match block:
        case Heading():
            return [(f"h{block.level}", plain(block.text))]
        case Text(runs=()):
            return [("p", plain(block.text))]
        case Text():
            runs = [("html_inline", "<sub>"), ("text", run_list(block.runs)), ("html_inline", "</sub>")]
            return [("p", [("text", " ".join(block.text.split()) + " "), *runs])]
        case Banner():
            note = [("strong_open", "**"), ("text", "Note:"), ("strong_close", "**")]
            return [("p", [*note, ("text", " " + " ".join(block.text.split()))])]
        case Table():
            caption = [("p", [("em_open", "*"), *plain(block.caption), ("em_close", "*")])] if block.caption else []
            rows = [("td", plain(shown(cell))) for row in block.rows for cell in row]
            return [*caption, *(("th", plain(column)) for column in block.columns), *rows]
        case Picture():
            caption = ("p", [("em_open", "*"), *plain(block.caption), ("em_close", "*")])
            return [("p", [("image", block.file.as_posix().translate(QUOTED))]), caption]


QUOTED = str.maketrans({"ü": "%C3%BC", "<": "%3C", ">": "%3E", " ": "%20", "(": "%28", ")": "%29"})


def plain(text: str) -> list[Piece]:
    line = " ".join(text.split())
    return [("text", line)] if line else []


@settings(deadline=None, max_examples=60)
@given(told, st.lists(blocks, max_size=5))
@example("x", [Text("- no list"), Text("1. nor here"), Text("10) here"), Text("+ or"), Text("=== or"), Text("# or")])
@example("x", [Text("<script"), Text("<!-- a"), Text("<b>"), Text("&lt;")])
@example("x", [Table(["a|b", "\\"], [["\\|", "`|`"]])])
def test_a_reader_gets_every_text_as_it_is_and_nothing_else(title: str, parts: list[Block]):
    found = read(render(Document(title, tuple(parts))))
    assert found == [("h1", plain(title)), *(line for part in parts for line in meant(part))]


@settings(deadline=None, max_examples=40)
@given(tables)
def test_a_table_keeps_its_rows_and_cells_on_lines_of_their_own(table: Table):
    for line in render(Document("t", (table,))).splitlines()[-2 - len(table.rows) :]:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == len(table.columns) + 1, line


@settings(deadline=None)
@given(hostile)
@example("someone@example.org http://example.org www.example.org")
def test_nothing_is_left_that_github_would_turn_into_a_link(text: str):
    """GitHub links bare addresses too, which CommonMark does not: web addresses as they are written, mail addresses
    after entities and escapes are read."""
    line = escape(text)
    assert "://" not in line
    assert "www." not in line
    assert not re.search("@(?!\u2060)", html.unescape(re.sub(r"\\(.)", r"\1", line)))


def test_a_caption_that_says_nothing_is_left_out():
    assert render(Document("t", (Table(["a"], [[1]], "  "),))) == "# t\n\n| a |\n| ---: |\n| 1 |\n"


def test_numbers_stand_to_the_right_and_a_dash_is_no_objection():
    rows = [("batch", "75.12 ± 0.31", None, "16c34a11d", "–"), ("group", "98%", "–", "123456789", 56)]
    table = Table(("variant", "accuracy", "interval", "commit", "field"), rows)
    assert numeric_columns(table) == [False, True, True, False, True]
    assert "\n| --- | ---: | ---: | --- | ---: |\n" in render(Document("t", (table,)))


def test_a_table_without_rows_has_no_numbers():
    assert numeric_columns(Table(("a", "b"), [])) == [False, False]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("75.12 ± 0.31", 75.12),
        ("−0.35", -0.35),
        ("-0.35", -0.35),
        ("+1.2", 1.2),
        ("31,216", 31216),
        ("1,234,567.5", 1234567.5),
        ("98%", 98),
        ("1e-4", 1e-4),
        ("4.93E−06", 4.93e-6),
        (".5", 0.5),
        ("3.0 (85 s)", 3),
        ("-5.85 to -1.67", -5.85),
        (7, 7),
        (0.25, 0.25),
        (None, None),
        ("", None),
        ("–", None),
        ("-", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("16c34a11de15", None),
        ("1,2,3", None),
        ("2.14.1", None),
        ("R1", None),
        ("e5", None),
        ("٣", None),
    ],
)
def test_the_number_that_a_cell_begins_with(cell: str | float | None, value: float | None):
    assert number(cell) == value


@pytest.mark.parametrize("cell", [None, "", "  ", "–", "-", "nan", float("nan")])
def test_cells_without_a_value(cell: str | float | None):
    assert is_absent(cell)


@pytest.mark.parametrize("cell", [0, "0", "none", "−", "R1"])
def test_cells_with_a_value(cell: str | int):
    assert not is_absent(cell)


@pytest.mark.parametrize("line", ["McNemar's test", "</summary></details><script>alert(1)</script>", "a\n\n| b | *c*"])
def test_a_folded_table_is_html_around_markdown(line: str):
    """The line that opens it is text and nothing else, and the table in it is read as a table."""
    text = render(Document("t", (Table(("a", "b"), [("1", "2")], "its caption", line), Text("After."))))
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    opening, closing = (token.content for token in tokens if token.type == "html_block")
    assert re.findall("</?[a-z]+>", opening) == ["<details>", "<summary>", "</summary>"]
    assert html.unescape(re.sub("</?[a-z]+>", "", opening)).strip() == " ".join(line.split())
    assert closing.strip() == "</details>"
    kinds = [token.type for token in tokens]
    assert kinds.index("html_block") < kinds.index("table_open") < len(kinds) - kinds[::-1].index("html_block") - 1
    assert ("p", [("text", "After.")]) in [
        (opener.tag, [read_piece(child) for child in token.children or []])
        for opener, token in itertools.pairwise(tokens)
        if token.type == "inline"
    ]


def test_panels_are_pictures_one_after_the_other():
    """Each on its own line of one paragraph, under one caption."""
    text = render(Document("t", (Picture(Path("a_1.png"), "what they show", (Path("a_2.png"),)),)))
    assert text.splitlines()[2:] == [
        "![what they show](a_1.png)",
        "![what they show](a_2.png)",
        "",
        "*what they show*",
    ]
