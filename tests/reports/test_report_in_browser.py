"""What a reader of `report.html` gets in a real browser: from disk, narrow and wide, by keyboard, dark, on paper."""

import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from reports.document import Banner, Document, Heading, Picture, Table, Text
from reports.html import render

pytestmark = pytest.mark.browser

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
ATTACK = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
VALUES = ["75.12 ± 0.31", "−0.35", None, "+1.2", "31,216", "98%", "1e-4", "–"]
ASCENDING = ["−0.35", "1e-4", "+1.2", "75.12 ± 0.31", "98%", "31,216"]
REPORTS = sorted((Path(__file__).resolve().parents[2] / "reports" / "published").glob("*/report.html"))
PAPER_WIDTH = 680
"""An A4 page's 18 cm between its margins, in CSS pixels."""


def sample() -> Document:
    """A report with what real ones have: a wide table, long words, pictures large and small, hostile names."""
    wide = [f"measure number {i}" for i in range(10)]
    return Document(
        f"norms {ATTACK}",
        (
            Text("Does the norm matter?"),
            Banner("Compared nevertheless, as allowed: " + "a" * 300),
            Heading(f"Answer {ATTACK}"),
            Text("Not decided.", (1, 2, 3, 10)),
            Table(("name", "value"), [(f"v{i}", value) for i, value in enumerate(VALUES)]),
            Picture(Path("wide.png"), f"A wide figure {ATTACK}"),
            Picture(Path("small.png"), "A small figure", photographs=True),
            Picture(Path("panel.png"), "Three panels", (Path("panel.png"), Path("panel.png"))),
            Table(("test", "p"), [("McNemar", "0.5")], "Folded away.", "Another question"),
            Table(
                ("variant", *wide, "verdict"), [("group_norm", *["75.12 ± 0.31"] * 10, "not decided")], "Notes. " * 60
            ),
            Heading("Runs"),
            Table(("run", "key"), [(f"R{n}", f"norm_comparison-{'long_' * 20}-s{n}") for n in (10, 9, 2, 1, 3)]),
            *(Text("Filling. " * 200) for _ in range(5)),
        ),
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    Image.new("RGB", (1800, 300), "teal").save(folder / "wide.png")
    Image.new("RGB", (200, 150), "navy").save(folder / "small.png")
    Image.new("RGB", (400, 350), "gray").save(folder / "panel.png")
    (folder / "report.html").write_text(render(sample(), folder), encoding="utf-8")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser said or asked for while a page was open, but for the page itself."""
    return []


@pytest.fixture
def page(browser: Browser, report: Path, complaints: list[str]) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme="light")
    page.on("console", lambda message: complaints.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: complaints.append(request.url))
    page.goto(report.as_uri())
    complaints[:] = [said for said in complaints if said != report.as_uri() and not said.startswith("data:")]
    yield page
    page.close()


def column(page: Page, table: int, index: int) -> list[str]:
    cells = page.locator("table").nth(table).locator(f"tbody tr > :nth-child({index + 1})")
    return cells.all_inner_texts()


def test_everything_loads_and_nothing_complains(page: Page, complaints: list[str]):
    widths = page.evaluate("Array.from(document.images, image => image.naturalWidth)")
    assert widths == [1800, 200, 400, 400, 400]
    assert page.evaluate("window.hacked") is None
    assert complaints == []


def test_the_policy_would_stop_scripts_and_pictures_that_got_in(page: Page, complaints: list[str]):
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.hacked = 1";
        document.body.append(script);
        const image = document.createElement("img");
        image.setAttribute("onerror", "window.hacked = 1");
        image.src = "https://x.invalid/";
        document.body.append(image);
    }""")
    page.wait_for_timeout(100)
    assert page.evaluate("window.hacked") is None
    refused = [said for said in complaints if "Content Security Policy" in said]
    assert len(refused) == 3, complaints


@pytest.mark.parametrize("keyboard", [False, True], ids=["mouse", "keyboard"])
def test_a_table_sorts_by_number_both_ways_with_dashes_last(page: Page, keyboard: bool):
    header = page.locator("table").nth(0).get_by_role("columnheader", name="value")
    button = header.get_by_role("button")

    def press() -> None:
        if keyboard:
            button.focus()
            page.keyboard.press("Enter")
        else:
            button.click()

    assert column(page, 0, 1) == [value or "–" for value in VALUES]
    press()
    assert column(page, 0, 1) == [*ASCENDING, "–", "–"]
    assert header.get_attribute("aria-sort") == "ascending"
    press()
    assert column(page, 0, 1) == [*reversed(ASCENDING), "–", "–"]
    assert header.get_attribute("aria-sort") == "descending"
    assert column(page, 0, 0)[:2] == ["v4", "v5"], "rows move whole"


def test_words_sort_as_people_count_and_one_column_at_a_time(page: Page):
    table = page.locator("table").nth(3)
    table.get_by_role("button", name="run").click()
    assert column(page, 3, 0) == ["R1", "R2", "R3", "R9", "R10"]
    table.get_by_role("button", name="key").click()
    assert table.locator("[aria-sort]").count() == 1
    assert table.locator("[aria-sort]").inner_text() == "key"


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_never_scrolls_sideways_but_wide_tables_do(page: Page, width: int):
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator(".table .scroll").nth(2)
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    box.evaluate("box => box.scrollLeft = 300")
    label = page.locator("table").nth(2).locator("tbody th").bounding_box()
    frame = box.bounding_box()
    assert label
    assert frame
    assert label["x"] == pytest.approx(frame["x"], abs=1), "the row's label stays in sight"


def test_a_figure_opens_and_closes_by_keyboard_and_focus_returns(page: Page):
    dialog, figures = page.locator("dialog"), page.locator(".zoom")
    assert not dialog.is_visible()
    figures.nth(0).focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    picture = dialog.locator("img")
    assert picture.get_attribute("alt") == f"A wide figure {ATTACK}"
    assert picture.evaluate("image => [image.clientWidth, image.clientHeight]") == [1800, 300]
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert figures.nth(0).evaluate("button => button === document.activeElement")


def test_a_small_figure_opens_as_large_as_the_window_allows(page: Page):
    page.locator(".zoom").nth(1).click()
    box = page.locator("dialog img").bounding_box()
    assert box
    assert box["width"] / box["height"] == pytest.approx(200 / 150, rel=0.01)
    assert 700 < box["height"] < 900
    page.locator("dialog").get_by_role("button", name="Close").click()
    assert not page.locator("dialog").is_visible()


def test_a_cited_run_leads_to_its_row(page: Page):
    page.locator(".runs").get_by_role("link", name="R10").click()
    row = page.locator("tr:target")
    assert row.locator("th").inner_text() == "R10"
    place = row.bounding_box()
    assert place
    assert 0 <= place["y"] < 900


def test_contents_lead_to_their_headings(page: Page):
    page.get_by_role("navigation").get_by_role("link", name="Runs").click()
    place = page.locator("h2#runs").bounding_box()
    assert place
    assert 0 <= place["y"] < 100


def test_dark_is_dark_and_paper_is_white(page: Page):
    shade = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(shade) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(shade) == "rgb(21, 24, 28)"
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate(shade) == "rgb(255, 255, 255)"


def test_plots_are_drawn_dark_on_a_dark_page_and_photographs_stay_as_they_are(page: Page):
    """What a reader sees of plain colours: a plot's white and black change places, its hues stay; also enlarged."""

    def seen(which: int) -> tuple[int, ...]:
        shot = Image.open(BytesIO(page.locator(".zoom img").nth(which).screenshot())).convert("RGB")
        return shot.getpixel((20, 20))  # pyright: ignore[reportReturnType] three channels

    assert seen(0) == (0, 128, 128)
    page.emulate_media(color_scheme="dark")
    teal, navy, grey = seen(0), seen(1), seen(2)
    assert min(teal[1:]) > 128 > teal[0], "lighter, and still teal"
    assert navy == pytest.approx((0, 0, 110), abs=2), "dimmed, as photographs are"
    assert grey == pytest.approx((127, 127, 127), abs=3)
    page.locator(".zoom").nth(0).click()
    assert page.locator("dialog img").evaluate("image => getComputedStyle(image).filter").startswith("invert")
    assert page.locator("dialog").evaluate("box => getComputedStyle(box).backgroundColor") == "rgb(21, 24, 28)"
    page.emulate_media(color_scheme="dark", media="print")
    assert seen(0) == (0, 128, 128)


def test_panels_stand_in_a_row_or_under_each_other(page: Page):
    """Three in a row on a desk; on a telephone each has the page's width."""

    def places() -> list[tuple[float, float, float]]:
        boxes = [page.locator(".zoom").nth(n).bounding_box() for n in (2, 3, 4)]
        return [(box["x"], box["y"], box["width"]) for box in boxes if box]

    wide = places()
    assert len({y for _, y, _ in wide}) == 1
    assert len({x for x, _, _ in wide}) == 3
    page.set_viewport_size({"width": 400, "height": 900})
    narrow = places()
    assert len({y for _, y, _ in narrow}) == 3
    assert all(width > 340 for _, _, width in narrow)


def test_a_wide_figure_scrolls_on_a_telephone_rather_than_shrink(page: Page):
    """1,800 pixels on 370 would be unreadable; the page itself stays still."""
    page.set_viewport_size({"width": 400, "height": 900})
    card = page.locator(".zoom").nth(0)
    assert card.evaluate("card => [card.scrollWidth > 600, card.clientWidth < 400]") == [True, True]
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_what_is_folded_opens_by_click(page: Page):
    cell = page.get_by_text("McNemar", exact=True)
    assert not cell.is_visible()
    page.get_by_text("Another question").click()
    assert cell.is_visible()


def test_it_prints_whole(page: Page):
    page.set_viewport_size({"width": PAPER_WIDTH, "height": 1000})
    page.emulate_media(media="print")
    assert not page.get_by_role("navigation").is_visible()
    edges = page.evaluate("""Array.from(document.querySelectorAll("table, img, p, .banner"),
        part => part.getBoundingClientRect().right)""")
    assert len(edges) > 10
    assert max(edges) <= PAPER_WIDTH + 1
    assert page.pdf(format="A4").startswith(b"%PDF-")


@pytest.mark.parametrize("published", REPORTS, ids=lambda path: path.parent.name)
def test_a_published_report_reads_well_from_disk(browser: Browser, published: Path):
    """Every picture loads, nothing complains, nothing hangs over the edge on a telephone, a desk or paper."""
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(published.as_uri())
    figures = len(list((published.parent / "figures").glob("*.png")))
    assert page.evaluate("Array.from(document.images, image => image.naturalWidth > 100)").count(True) >= figures >= 6
    assert page.evaluate("Array.from(document.images).every(image => image.complete && image.naturalWidth)")
    for width in (1400, 400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": PAPER_WIDTH, "height": 1000})
    page.emulate_media(media="print")
    edges = page.evaluate("""Array.from(document.querySelectorAll("table, img, p, .banner"),
        part => part.getBoundingClientRect().right)""")
    assert max(edges) <= PAPER_WIDTH + 1
    assert page.locator("#answer + p").inner_text().endswith(page.locator("#answer + p .runs").inner_text())
    assert page.locator("#answer + p .runs").inner_text().startswith("R1")
    assert complaints == []
    page.close()
