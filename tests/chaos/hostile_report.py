"""Hostile names, titles, questions and sources through the real thing: make, training, MLflow, a report, a browser."""

import csv
import io
import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from markdown_it import MarkdownIt
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.chaos.hostile_texts import texts
from tests.chaos.hostile_world import World
from tests.chaos.table import Row

EXPERIMENT = """
from harness import SGD, Circumstances, Data, Experiment, Model, Published, Recipe

EXPERIMENT = Experiment(
    name="hostile",
    question={question!r},
    base=Recipe(
        data=Data(name={folder!r}, title={title!r}),
        model=Model(name="norm_cnn", head="gap"),
        optimizer=SGD(lr=0.02),
        epochs=1,
        batch_size=8,
    ),
    variants={variants!r},
    factor=("model.dropout",),
    baseline="dropout_0",
    seeds=(0,),
    circumstances=Circumstances(device="cpu", threads=1),
    published=tuple(Published(variant="dropout_0", test_accuracy_percent=50.0, source=text) for text in {sources!r}),
)
"""
FOLDER = "data/<b>|=1+1 pets"
TITLE = "</td><script>window.hacked=1</script>|`=1+1"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
ELEMENTS = ["html", "head", "meta", "title", "link", "style", "body", "nav", "ul", "li", "a", "main", "h1", "h2", "h3"]
ELEMENTS += ["p", "div", "span", "strong", "em", "sub", "blockquote", "figure", "figcaption", "table", "thead", "tbody"]
ELEMENTS += ["tr", "th", "td", "button", "img", "dialog", "script"]
FORMULA = tuple("=+-@\t\r\n＝＋－＠")
LIVE = """allowed => Array.from(document.querySelectorAll("*")).flatMap(element => [
    ...(allowed.includes(element.localName) ? [] : [element.localName]),
    ...Array.from(element.attributes, a => a.name).filter(name => name.startsWith("on")),
    ...["href", "src"].map(name => element.getAttribute(name)).filter(
        link => link && !/^(#|data:|figures\\/[a-z0-9_]+\\.png$)/.test(link)),
]).concat(window.hacked ? ["a script ran"] : [])"""
TABLES = """Array.from(document.querySelectorAll("table"), table => Array.from(table.rows, row =>
    Array.from(row.cells, cell => cell.textContent)))"""


def class_names(count: int) -> list[str]:
    """Those texts that a folder can be called by."""
    fit = [name for name in texts(4 * count, seed=1, printable=True, longest=60) if "/" not in name and name[0] != "."]
    return sorted(fit[:count])


def prepare(world: World, sources: Sequence[str], classes: Sequence[str], variants: int) -> None:
    """An experiment of short runs on a folder of three small images a class."""
    rng = np.random.default_rng(0)
    for name in classes:
        for split, count in (("train", 2), ("test", 1)):
            (world.project / FOLDER / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
                Image.fromarray(pixels).save(world.project / FOLDER / split / name / f"{number}.png")
    experiment = EXPERIMENT.format(
        question=" ".join(sources[:20]),
        folder=f"folder:{FOLDER}",
        title=TITLE,
        variants={f"dropout_{number}": {"model.dropout": 0.1 * number} for number in range(variants)},
        sources=tuple(sources),
    )
    (world.project / "experiments" / "hostile.py").write_text(experiment, encoding="utf-8")


def rows(sources: int, classes: int, variants: int, world: World) -> Iterator[Row]:
    """So many texts in a report of runs of so many variants, on so many classes."""
    given, names = texts(sources, seed=2), class_names(classes)
    prepare(world, given, names, variants)
    done = world.run("make", "-s", "run", "EXP=hostile", "WORKERS=0")
    said = done.stderr[-300:] if done.returncode else ""
    yield Row("a run with hostile names is made and reported", 1, int(done.returncode == 0), said)
    report = world.project / "reports" / "out" / "hostile"
    yield in_mlflow(world, names, variants)
    with browser_page() as (page, said):
        page.goto((report / "report.html").as_uri())
        html, live = page.evaluate(TABLES), page.evaluate(LIVE, ELEMENTS)
        markdown = MarkdownIt("commonmark", {"html": True}).enable("table").render((report / "report.md").read_text())
        (report / "markdown.html").write_text(f'<meta charset="utf-8"><link rel="icon" href="data:,">{markdown}')
        page.goto((report / "markdown.html").as_uri())
        read, live_too = page.evaluate(TABLES), page.evaluate(LIVE, ELEMENTS)
    yield from tables(html, read, given)
    found = [*live, *live_too, *said]
    count = 2 * (len(given) + len(names))
    yield Row("nothing in a report's HTML or Markdown is live", count, max(0, count - len(found)), "; ".join(found[:3]))
    yield spreadsheets([*report.glob("*.csv"), *world.project.glob("mlartifacts/**/misclassified.csv")])


def tables(html: list[Any], markdown: list[Any], given: Sequence[str]) -> Iterator[Row]:
    """Two readers of two formats must find the same cells in the same places."""
    same = sum(flat(one) == flat(other) for one, other in zip(html, markdown, strict=False))
    count = max(len(html), len(markdown))
    yield Row("a table has the same cells in HTML and in Markdown", count, same)
    cells = {cell for table in flat(html) for row in table for cell in row}
    lost = [text for text in given if " ".join(text.split()) not in cells]
    yield Row(
        "a hostile text is in the report, letter by letter",
        len(given),
        len(given) - len(lost),
        repr(lost[:3])[:200] if lost else "",
    )


def flat(tables: Any) -> Any:
    """Text as it reads: white space as one blank, without the joiner that keeps GitHub from making links."""
    return (
        " ".join(tables.replace("\u2060", "").split()) if isinstance(tables, str) else [flat(part) for part in tables]
    )


@contextmanager
def browser_page() -> Iterator[tuple[Page, list[str]]]:
    """A page of the real browser, and all that it said or asked for but files of its own."""
    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page()
        page.on("console", lambda message: said.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: asked.append(request.url))
        yield page, said
        said += [url for url in asked if not url.startswith(("file:", "data:"))]
        browser.close()


def in_mlflow(world: World, names: Sequence[str], variants: int) -> Row:
    """MLflow's own database, read by hand: a run a variant and a summary, with the names as they were."""
    with closing(sqlite3.connect(world.project / "mlflow.db")) as connection:
        held = connection.execute(
            "SELECT key, value FROM params WHERE key IN ('data.label', 'data.classes')"
        ).fetchall()
        runs = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
        experiments = connection.execute("SELECT name FROM experiments ORDER BY name").fetchall()
    expected = sorted([("data.label", TITLE), ("data.classes", json.dumps(names)[:6000])] * variants)
    right = [sorted(held) == expected, runs == variants + 1, experiments == [("Default",), ("hostile",)]]
    detail = "" if all(right) else f"{held}, {runs} runs, {experiments}"[:300]
    return Row("MLflow holds hostile names as they were, and nothing besides", len(right), sum(right), detail)


def spreadsheets(files: Sequence[Path]) -> Row:
    """Every cell of every CSV file, with commas and with semicolons between cells: a number, or no formula."""
    cells = [
        cell
        for file in files
        for delimiter in ",;"
        for row in csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline=""), delimiter=delimiter)
        for cell in row
    ]
    bad = [cell for cell in cells if cell.startswith(FORMULA) and not number(cell)]
    return Row("a cell of a CSV file is no formula", len(cells), len(cells) - len(bad), repr(bad[:3]) if bad else "")


def number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
