"""What `reports.html` promises: one file that needs nothing else, in which every text is only text."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from reports.document import Banner, Block, Document, Heading, Picture, Table, Text, run_list
from reports.html import render
from reports.markdown import shown

HOSTILE = [
    "<script>alert(1)</script>",
    "](javascript:x)",
    '"onload=',
    "' onclick='x",
    "</title>",
    "</style>",
    "-->",
    "&lt;",
]
VOID = {"meta", "link", "img"}
ATTRIBUTES = {
    "html": {"lang"},
    "meta": {"charset", "http-equiv", "content", "name"},
    "link": {"rel", "href"},
    "nav": {"aria-label"},
    "li": {"class"},
    "a": {"href"},
    "h2": {"id"},
    "h3": {"id"},
    "span": {"class"},
    "div": {"class", "role"},
    "figure": {"class"},
    "tr": {"id"},
    "th": {"scope", "class", "data-value", "data-absent"},
    "td": {"class", "data-value", "data-absent"},
    "button": {"type", "class", "title"},
    "img": {"src", "alt", "width", "height", "class"},
    "dialog": {"aria-label"},
}
A_PICTURE = Path("figures/a.png")
hostile = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=4), max_size=4).map("".join)
tables = st.integers(1, 4).flatmap(
    lambda width: st.builds(
        Table,
        st.tuples(*[hostile] * width),
        st.lists(st.tuples(*[st.none() | hostile | st.integers() | st.floats()] * width), max_size=3),
        hostile,
        st.just("") | hostile,
    )
)
blocks = st.one_of(
    st.builds(Heading, hostile, st.integers(2, 3)),
    st.builds(Text, hostile, st.lists(st.integers(1, 20), max_size=4).map(tuple)),
    st.builds(Banner, hostile),
    tables,
    st.builds(Picture, st.just(A_PICTURE), hostile, st.sampled_from([(), (A_PICTURE,), (A_PICTURE, A_PICTURE)])),
)


class Page(HTMLParser):
    """A page as read back: its elements with their attributes, and the text inside each of them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open, "an element was left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_data(self, data: str) -> None:
        for tag in self._open:
            self.inside[tag] = self.inside.get(tag, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def links(self) -> list[str | None]:
        return [attributes["href"] for attributes in self.all("a")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report's folder with one picture, 3 by 2."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "figures").mkdir()
    Image.new("RGB", (3, 2), "teal").save(folder / "figures" / "a.png")
    return folder


def page_of(folder: Path, *parts: Block, title: str = "a title") -> Page:
    return Page(render(Document(title, parts), folder))


def texts(block: Block) -> list[str]:
    """Every text of a block, in the order of the page."""
    match block:
        case Text():
            return [block.text, run_list(block.runs)]
        case Banner():
            return ["Note:", block.text]
        case Table():
            cells = [shown(cell) for row in block.rows for cell in row]
            return [block.folded, *block.columns, *cells, block.caption]
        case Picture():
            return [block.caption]
        case Heading():
            return [block.text]


def harmless(block: Block) -> Block:
    """The same block with nothing but letters in it."""
    match block:
        case Text():
            return Text("x", block.runs)
        case Banner():
            return Banner("x")
        case Table():
            rows = [["x"] * len(row) for row in block.rows]
            folded = "x" if block.folded.strip() else ""
            return Table(["x"] * len(block.columns), rows, "x" if block.caption else "", folded)
        case Picture():
            return Picture(block.file, "x", block.panels)
        case Heading():
            return Heading("x", block.level)


def test_linked_pictures_are_files_beside_the_page(folder: Path):
    """Their size is known all the same, and a name is no address of anything else."""
    Image.new("RGB", (3, 2), "teal").save(folder / "figures" / "b#1?.png")
    picture = Picture(Path("figures/b#1?.png"), "a caption")
    page = Page(render(Document("a title", (picture,)), folder, linked=True))
    (image,) = page.all("img")
    assert (image["src"], image["width"], image["height"]) == ("figures/b%231%3F.png", "3", "2")


@settings(deadline=None, max_examples=50)
@given(hostile, st.lists(blocks, max_size=5))
@example("</title><script>", [Heading(text) for text in HOSTILE] + [Text(text) for text in HOSTILE])
@example("", [Table(HOSTILE, [HOSTILE], text) for text in HOSTILE])
@example("", [Picture(Path("figures/a.png"), text) for text in HOSTILE])
def test_no_text_makes_an_element_or_an_attribute(folder: Path, title: str, parts: list[Block]):
    page = page_of(folder, *parts, title=title)
    plain = page_of(folder, *(harmless(part) for part in parts), title="x")
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    for tag, attributes in page.elements:
        assert attributes.keys() <= ATTRIBUTES.get(tag, set()), tag
    told = " ".join([title, *(text for part in parts for text in texts(part))])
    assert page.inside.get("main", "").split() == told.split()
    assert page.inside.get("title", "") == title
    assert [attributes["alt"] for attributes in page.all("img")] == [
        p.caption for p in parts if isinstance(p, Picture) for _ in p.files
    ]


@settings(deadline=None, max_examples=50)
@given(st.lists(blocks, max_size=6))
def test_every_anchor_leads_somewhere_and_only_there(folder: Path, parts: list[Block]):
    page = page_of(folder, *(part for part in parts if not isinstance(part, Text)))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-z0-9-]+", str(name)) for name in ids)
    assert page.links() == [f"#{name}" for name in ids]


def test_headings_that_say_the_same_have_anchors_of_their_own(folder: Path):
    headings = ["Cost", "Cost", "cost 2", "Größe & Maß", "精度", "精度"]
    found = page_of(folder, *(Heading(text) for text in headings)).all("h2")
    assert [h["id"] for h in found] == ["cost", "cost-2", "cost-2-2", "gr-e-ma", "section", "section-2"]


def test_runs_that_a_sentence_cites_lead_to_their_rows(folder: Path):
    runs = Table(("run", "seed"), [("R1", 0), ("R2", 1), ("R3", 2), ("R7", 3)])
    page = page_of(folder, Text("So it is.", (1, 2, 3, 7, 9)), runs)
    assert page.links() == ["#R1", "#R3", "#R7"]
    assert page.inside["p"] == "So it is. R1–R3, R7, R9"
    assert [row.get("id") for row in page.all("tr")] == [None, "R1", "R2", "R3", "R7"]


def test_each_experiment_of_a_joint_report_cites_its_own_runs(folder: Path):
    runs = Table(("run", "seed"), [("R1", 0)])
    page = page_of(folder, Text("First.", (1,)), runs, Text("Second.", (1,)), runs, Text("After all.", (1,)))
    assert page.links() == ["#R1", "#R1-2", "#R1-2"]


def test_numbers_carry_their_value_and_dashes_none(folder: Path):
    rows = [("batch", "31,216", "a"), ("group", "−0.35 ± 0.1", 5), ("layer", None, "–")]
    page = page_of(folder, Table(("variant", "value", "mixed"), rows))
    assert [cell.get("data-value") for cell in page.all("td")[::2]] == ["31216.0", "-0.35", None]
    assert [cell.get("data-value") for cell in page.all("td")[1::2]] == [None, None, None]
    assert [cell.get("data-absent") for cell in page.all("td")] == [None, None, None, None, "true", "true"]


def test_pictures_are_in_the_page_byte_for_byte(folder: Path):
    (picture,) = page_of(folder, Picture(Path("figures/a.png"), "what it shows")).all("img")
    kind, data = str(picture["src"]).split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == (folder / "figures" / "a.png").read_bytes()
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (3, 2)
    assert (picture["alt"], picture["width"], picture["height"]) == ("what it shows", "3", "2")


def test_a_folded_table_opens_under_its_line(folder: Path):
    """Table and caption inside, closed until it is asked for; a table without such a line is not folded."""
    page = page_of(folder, Table(("a",), [("1",)], "its caption", "more & more"))
    assert page.all("details") == [{}]
    assert page.inside["summary"] == "more & more"
    assert page.inside["details"].split() == ["more", "&", "more", "a", "1", "its", "caption"]
    assert not page_of(folder, Table(("a",), [("1",)], "its caption")).all("details")


def test_a_picture_that_is_missing_or_no_image_is_an_error(folder: Path):
    with pytest.raises(FileNotFoundError, match=re.escape("none.png")):
        page_of(folder, Picture(Path("none.png"), "gone"))
    (folder / "text.png").write_text("<svg onload=alert(1)>")
    with pytest.raises(UnidentifiedImageError, match="cannot identify image file"):
        page_of(folder, Picture(Path("text.png"), "no image"))


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(folder: Path):
    page = page_of(folder, Heading("Answer"))
    style, script = (
        base64.b64encode(hashlib.sha256(page.inside[tag].encode()).digest()).decode() for tag in ("style", "script")
    )
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert len(page.all("style")) == len(page.all("script")) == 1


def test_nothing_is_loaded_from_anywhere(folder: Path):
    page = page_of(folder, Heading("Answer"), Picture(Path("figures/a.png"), "c"), Table(["a"], [["https://x.org"]]))
    addresses = [a[name] for _, a in page.elements for name in ("src", "href") if name in a]
    assert all(str(address).startswith(("data:", "#")) for address in addresses)
    for tag in ("style", "script"):
        assert not re.search(r"://|url\(|@import|import\(|fetch\(|XMLHttpRequest", page.inside[tag])


def test_the_page_says_its_language_its_title_and_that_it_fits_a_telephone(folder: Path):
    page = page_of(folder, title="batch & group")
    assert page.all("html") == [{"lang": "en"}]
    assert page.inside["title"] == page.inside["h1"] == "batch & group"
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
