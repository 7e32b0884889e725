"""Folders of small image files."""

from pathlib import Path

import pytest
from PIL import Image

RED = (200, 30, 40)


def save(
    path: Path, mode: str = "RGB", size: tuple[int, int] = (8, 8), colour: object = RED, **options: object
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)  # pyright: ignore[reportArgumentType] a colour fits its mode
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images: a and b, one each in train and test."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            save(tmp_path / "set" / split / name / "1.png")
    return tmp_path / "set"
