"""A folder of image files: which of them count, by split, class and name. Nothing is opened here.

A folder may come from a stranger's archive. A link in it may lead elsewhere inside the folder, but not out of it: the
archive must not decide which of the reader's own files become images of a report. A class's name must be printable.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.values import HarnessError, nearest

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


class DataError(HarnessError):
    """A data set that is missing, incomplete, damaged or at odds with the recipe."""


class File(NamedTuple):
    """One image file: its name relative to the folder, its label, and what tells that it has changed."""

    name: str
    label: int
    bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Folder:
    """A folder's image files, by split, class and name. Nothing has been opened yet."""

    path: Path
    classes: tuple[str, ...]
    train: tuple[File, ...]
    test: tuple[File, ...]
    ignored: tuple[str, ...]


def list_folder(path: Path) -> Folder:
    """The images under path/train/<class>/ and path/test/<class>/.

    Raises:
        DataError: no such folder or split, classes that differ or are fewer than two, a class without images, or a
            link that leads out of the folder.
    """
    if not path.is_dir():
        near = nearest(path.name, _folder_names(path.parent))
        raise DataError(f"`data.name`: the folder {str(path)!r} does not exist{near or '; check folder:PATH'}")
    path = path.resolve()
    ignored: list[str] = []
    names = {split: _class_names(path, split, ignored) for split in ("train", "test")}
    classes = sorted(names["train"] | names["test"])
    for split in names:
        for missing in sorted(set(classes) - names[split]):
            raise DataError(
                f"`data.name`: train/ and test/ must hold the same classes; {split}/ of {str(path)!r} has no folder "
                f"{missing!r}{nearest(missing, names[split])}"
            )
    if len(classes) < 2:
        raise DataError(
            f"`data.name`: at least 2 classes are needed; {str(path)!r} holds {len(classes)}: put one folder a class "
            "in train/ and in test/"
        )
    files = {
        split: tuple(file for label, name in enumerate(classes) for file in _files(path, split, name, label, ignored))
        for split in names
    }
    return Folder(path, tuple(classes), files["train"], files["test"], tuple(ignored))


def _folder_names(parent: Path) -> list[str]:
    return [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []


def _class_names(root: Path, split: str, ignored: list[str]) -> set[str]:
    if not (root / split).is_dir():
        raise DataError(
            f"`data.name`: {str(root)!r} has no folder {split!r}; images belong in train/<class>/ and test/<class>/"
        )
    _refuse_outside(root, root / split)
    names = set()
    for entry in _scan(root, split):
        if entry.name.startswith(".") or not entry.is_dir():
            ignored.append(f"{split}/{entry.name}")
        else:
            _refuse_unprintable(root, f"{split}/{entry.name}")
            names.add(entry.name)
    return names


def _refuse_unprintable(root: Path, name: str) -> None:
    """A class's name stands in every table: no line ends, no control characters, nothing that turns text around."""
    if not name.isprintable():
        raise DataError(
            f"`data.name`: class folders need names of printable characters; got {name!r} in {str(root)!r}: rename it"
        )


def _files(root: Path, split: str, class_name: str, label: int, ignored: list[str]) -> list[File]:
    files = []
    for entry in _scan(root, f"{split}/{class_name}"):
        name = f"{split}/{class_name}/{entry.name}"
        hidden = entry.name.startswith(".")
        if hidden or not entry.name.lower().endswith(IMAGE_ENDINGS) or not entry.is_file():
            ignored.append(name)
        else:
            stat = entry.stat()
            files.append(File(name, label, stat.st_size, stat.st_mtime_ns))
    if not files:
        raise DataError(
            f"`data.name`: every class needs images; {f'{split}/{class_name}'!r} of {str(root)!r} holds no "
            f"{', '.join(IMAGE_ENDINGS)} file"
        )
    return files


def _scan(root: Path, folder: str) -> Iterator[os.DirEntry[str] | Path]:
    """A folder's entries by name. Links come as Paths: unlike an entry's, their questions do not raise in a loop."""
    try:
        with os.scandir(root / folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"`data.name`: {folder!r} of {str(root)!r} cannot be read ({error.strerror})") from error
    for entry in listed:
        if entry.is_symlink():
            _refuse_outside(root, Path(entry.path))
            yield Path(entry.path)
        else:
            yield entry


def _refuse_outside(root: Path, path: Path) -> None:
    if not Path(os.path.realpath(path)).is_relative_to(root):
        raise DataError(
            f"`data.name`: links must stay inside the folder; {str(path.relative_to(root))!r} of {str(root)!r} leads "
            "out of it: copy the files, or remove the link"
        )
