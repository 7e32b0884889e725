"""Hostile input, fewer of each kind than `make chaos` tries; archives, images and ways past the door at least once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import hostile, hostile_archives, hostile_door, hostile_images
from tests.chaos.table import Row


def broken(rows: Iterator[Row]) -> list[Row]:
    return [row for row in rows if not row.kept]


def test_no_file_and_no_name_gets_in(tmp_path: Path) -> None:
    """Every promise about archives, images and what is typed is kept, every time."""
    assert broken(hostile.files_and_names(hostile.REDUCED, tmp_path)) == []


@pytest.mark.browser
def test_no_text_and_no_client_gets_in(tmp_path: Path) -> None:
    """Every promise about reports and MLflow's pages is kept, every time."""
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not on this machine")
    assert broken(hostile.reports_and_pages(hostile.REDUCED, tmp_path)) == []


def test_each_kind_is_tried() -> None:
    """The reduced counts leave out no way to make an archive, an image or a name hostile."""
    assert hostile.REDUCED.archives >= len(hostile_archives.WAYS)
    assert hostile.REDUCED.images >= len(hostile_images.WAYS)
    assert hostile.REDUCED.names >= len(hostile_door.OPTIONS) + len(hostile_door.VALUES)
