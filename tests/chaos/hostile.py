"""Hostile input: archives, images, names, texts in a report, clients of the UI: nothing is written, run or called.

Each part stands in a file of its own, `hostile_*.py`; what the commands wrote and called is counted over all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import hostile_archives, hostile_door, hostile_images, hostile_report, hostile_ui
from tests.chaos.hostile_world import World
from tests.chaos.table import Row


@dataclass(frozen=True)
class Counts:
    archives: int
    downloads: int
    """Processes at once."""
    images: int
    names: int
    commands: int
    """Real ones, through make."""
    texts: int
    """In one report."""
    classes: int
    variants: int
    hosts: int
    origins: int
    pages: bool
    """Whether MLflow's pages are opened in a browser."""


FULL = Counts(
    archives=50,
    downloads=16,
    images=100,
    names=300,
    commands=24,
    texts=300,
    classes=40,
    variants=2,
    hosts=100,
    origins=100,
    pages=True,
)
REDUCED = Counts(
    archives=46,
    downloads=4,
    images=46,
    names=37,
    commands=1,
    texts=60,
    classes=6,
    variants=1,
    hosts=20,
    origins=4,
    pages=False,
)


def rows(counts: Counts, folder: Path) -> Iterator[Row]:
    """See `Counts`."""
    yield from files_and_names(counts, folder / "without")
    yield from reports_and_pages(counts, folder / "browser")


def files_and_names(counts: Counts, folder: Path) -> Iterator[Row]:
    """What needs no browser."""
    world = World(folder)
    yield from hostile_archives.rows(counts.archives, folder)
    yield hostile_archives.first_downloads(counts.downloads, folder)
    yield from hostile_images.rows(counts.images, folder)
    yield hostile_door.row(counts.names, world)
    yield hostile_door.through_make(counts.commands, world)
    yield from world.rows()


def reports_and_pages(counts: Counts, folder: Path) -> Iterator[Row]:
    """A report opened in a browser, and the pages of `make ui`."""
    world = World(folder)
    yield from hostile_report.rows(counts.texts, counts.classes, counts.variants, world)
    yield from hostile_ui.rows(counts.hosts, counts.origins, counts.pages, world)
    yield from world.rows()
