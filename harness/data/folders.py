"""List the image files of a folder by split, class and name, without opening them.

A folder may come from an untrusted archive. Links in it may point elsewhere inside the folder but not out of it, so
that an archive cannot select other files of the user, which reports would show. Class names must be printable.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harness.values import HarnessError, nearest

IMAGE_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of image files, compared without case."""
_INSTEAD = ("val", "valid", "validation")
"""Names of folders used as test images if there is no test/."""
_CLUTTER = ("._", "Thumbs.db", "desktop.ini")
"""Starts of names of files created by operating systems, which are ignored."""
_SHOWN = 10


class DataError(HarnessError):
    """A data set is missing, incomplete, damaged or inconsistent with the recipe."""


class File(NamedTuple):
    """An image file: its name relative to the folder, its label, and its size and times, which reveal changes."""

    name: str
    label: int
    bytes: int
    mtime_ns: int


class LeftOut(NamedTuple):
    """A number of files of a split or class that are skipped, and the reason."""

    folder: str
    files: int
    reason: str


@dataclass(frozen=True)
class Folder:
    """A folder's image files by split, class and name. No file has been opened yet."""

    path: Path
    classes: tuple[str, ...]
    train: tuple[File, ...]
    test: tuple[File, ...]
    left_out: tuple[LeftOut, ...]
    tested: str = "test"
    """The folder of the test images: test, or val if there is no test/."""


@dataclass
class _Listing:
    """The folder that is being listed, and the files skipped so far by class or split and reason."""

    root: Path
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])

    def leave(self, folder: str, reason: str, files: int = 1) -> None:
        if files:  # names are escaped, because unchecked ones go to logs and reports
            self.left_out[folder if folder.isprintable() else repr(folder)[1:-1], reason] += files


def list_folder(path: Path, allow_missing_test_classes: bool = False) -> Folder:
    """List the images in path/train/<class>/ and path/test/<class>/, or val/ if there is no test/.

    Names that differ only in their Unicode normalisation form are treated as equal.

    Args:
        allow_missing_test_classes: a class of train/ may have no images in test/; each class of test/ must be in
            train/.

    Raises:
        DataError: the folder or a split does not exist, the splits' classes differ, there are fewer than two classes, a
            class has no images, or a link points out of the folder.
    """
    path = _existing(path)
    listing = _Listing(path)
    tested = _tested(path)
    names = {split: _class_names(listing, split) for split in ("train", tested)}
    classes = sorted({**names["train"], **names[tested]})
    optional = {"train": False, tested: allow_missing_test_classes}
    for split in names:
        for missing in () if optional[split] else sorted(set(classes) - set(names[split])):
            raise DataError(
                f"`data.name`: train/ and {tested}/ must hold the same classes; {split}/ of {str(path)!r} has no "
                f"folder {missing!r}{nearest(missing, names[split])}"
            )
    if len(classes) < 2:
        raise DataError(
            f"`data.name`: at least 2 classes are needed; {str(path)!r} holds {len(classes)}: put one folder a class "
            f"in train/ and in {tested}/"
        )
    files: dict[str, list[File]] = {"train": [], tested: []}
    for split, folders in names.items():
        for label, name in enumerate(classes):
            if name in folders:
                files[split] += _files(listing, f"{split}/{folders[name]}", label, optional[split])
    if not files[tested]:
        raise DataError(f"`data.name`: {tested}/ of {str(path)!r} holds no image of any class")
    _leave_the_rest(listing, tested)
    left_out = tuple(LeftOut(folder, count, reason) for (folder, reason), count in sorted(listing.left_out.items()))
    return Folder(path, tuple(classes), tuple(files["train"]), tuple(files[tested]), left_out, tested)


def _tested(path: Path) -> str:
    return "test" if (path / "test").is_dir() else next((n for n in _INSTEAD if (path / n).is_dir()), "test")


def left_out_line(path: Path, left_out: tuple[LeftOut, ...]) -> str:
    """A log line on skipped files: "left out of PATH: 12 files of train/cat (in a folder inside it)"."""
    parts = [
        f"{some.files} file{'s' * (some.files > 1)} of {some.folder} ({some.reason})" for some in left_out[:_SHOWN]
    ]
    if len(left_out) > _SHOWN:
        parts.append(f"{sum(some.files for some in left_out[_SHOWN:])} files elsewhere")
    return f"left out of {str(path)!r}: {', '.join(parts)}"


def _existing(path: Path) -> Path:
    """The folder with all links resolved; also found if its name differs only in Unicode normalisation."""
    try:
        if path.is_dir():
            return path.resolve()
        if path.exists():
            raise DataError(
                f"`data.name`: {str(path)!r} is a file; folder:PATH must be a folder with train/<class>/ and "
                "test/<class>/: unpack it, or export its images"
            )
        siblings = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []
    except OSError as error:
        raise DataError(f"`data.name`: {str(path)[:200]!r} cannot be read ({error.strerror})") from error
    for name in siblings:
        if _composed(name) == _composed(path.name):
            return path.with_name(name).resolve()
    near = nearest(path.name, siblings)
    raise DataError(f"`data.name`: the folder {str(path)!r} does not exist{near or '; check folder:PATH'}")


def _composed(name: str) -> str:
    """The name in Unicode form NFC; macOS and archives made there encode é as two characters, other systems as one."""
    return unicodedata.normalize("NFC", name)


def _class_names(listing: _Listing, split: str) -> dict[str, str]:
    """Class → the name of its folder."""
    root = listing.root
    if not (root / split).is_dir():
        raise DataError(
            f"`data.name`: {str(root)!r} has no folder {split!r}; images belong in train/<class>/ and test/<class>/"
            f"{_meant(root, split)}"
        )
    _refuse_outside(root, root / split)
    names: dict[str, str] = {}
    for entry in _scan(root, split):
        if not entry.is_dir():
            listing.leave(split, "in no class's folder")
        elif entry.name.startswith("."):
            listing.leave(f"{split}/{entry.name}", "in a folder whose name begins with a dot", _images_below(entry))
        else:
            _refuse_unprintable(root, f"{split}/{entry.name}")
            if _composed(entry.name) in names:
                raise DataError(
                    f"`data.name`: two folders of {split}/ in {str(root)!r} are called {_composed(entry.name)!r}, in "
                    "Unicode's forms NFC and NFD; put their images into one"
                )
            names[_composed(entry.name)] = entry.name
    return names


def _meant(root: Path, split: str) -> str:
    """The folder that holds a split, where it is the one above or below, or is spelt in capitals."""
    below = [entry.name for entry in _scan(root, ".", check_links=False) if entry.is_dir()]
    if spelt := next((name for name in below if name.lower() == split), None):
        return f": rename {spelt!r} to {split!r}"
    if root.name in ("train", "test", *_INSTEAD):
        return f"; did you mean {str(root.parent)!r}?"
    holding = [name for name in below if (root / name / split).is_dir()]
    if holding:
        return f"; did you mean {str(root / holding[0])!r}?"
    if below:
        return "; where nothing parts them yet, csv:PATH takes a table of paths and labels and draws the test images"
    return ""


def _refuse_unprintable(root: Path, name: str) -> None:
    """Refuse class names with line breaks, control characters or text direction marks, since tables show them."""
    if not name.isprintable():
        raise DataError(
            f"`data.name`: class folders need names of printable characters; got {name!r} in {str(root)!r}: rename it"
        )


def _files(listing: _Listing, folder: str, label: int, may_be_empty: bool) -> list[File]:
    files = []
    for entry in _scan(listing.root, folder):
        if entry.is_dir():
            listing.leave(folder, "in a folder inside it", _images_below(entry))
        elif entry.name.startswith("."):
            listing.leave(folder, "with a name that begins with a dot")
        elif not entry.name.lower().endswith(IMAGE_ENDINGS):
            listing.leave(folder, f"no {', '.join(IMAGE_ENDINGS)}")
        elif not entry.is_file():
            listing.leave(folder, "a pipe, or a link to nothing")
        else:
            stat = entry.stat()
            files.append(File(f"{folder}/{entry.name}", label, stat.st_size, stat.st_mtime_ns))
    if not files and not may_be_empty:
        raise DataError(
            f"`data.name`: every class needs images; {folder!r} of {str(listing.root)!r} holds no "
            f"{', '.join(IMAGE_ENDINGS)} file"
        )
    return files


def _leave_the_rest(listing: _Listing, tested: str) -> None:
    """Note images outside train/ and test/, such as an unused val/."""
    for entry in _scan(listing.root, ".", check_links=False):
        if entry.name not in ("train", tested) and not entry.is_symlink() and entry.is_dir():
            listing.leave(entry.name, f"in neither train/ nor {tested}/", _images_below(entry))


def _images_below(entry: os.DirEntry[str] | Path) -> int:
    """The number of files with an image ending in a folder and its subfolders; links are not followed."""
    return sum(
        name.lower().endswith(IMAGE_ENDINGS) and not name.startswith(_CLUTTER)
        for _, _, names in os.walk(entry)
        for name in names
    )


def _scan(root: Path, folder: str, check_links: bool = True) -> Iterator[os.DirEntry[str] | Path]:
    """A folder's entries sorted by name, without system files and without hidden files that are not images.

    Links are returned as Path, whose methods do not raise for loops, unlike those of DirEntry.
    """
    try:
        with os.scandir(root / folder) as entries:
            listed = sorted(entries, key=lambda entry: (_composed(entry.name), entry.name))
    except OSError as error:
        raise DataError(f"`data.name`: {folder!r} of {str(root)!r} cannot be read ({error.strerror})") from error
    for entry in listed:
        hidden = entry.name.startswith(".") and not entry.name.lower().endswith(IMAGE_ENDINGS)
        if entry.name.startswith(_CLUTTER) or (hidden and not entry.is_dir(follow_symlinks=False)):
            continue
        if check_links and entry.is_symlink():
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
