"""`csv:PATH`: a table of image files with the columns path, label and optionally split.

Paths are relative to the table's folder and must not lead out of it, so that a table from an untrusted archive cannot
select other files of the user, which reports would show. Splits are train and test; val is used as test if there is no
test. Without the column split, a fifth of each class is drawn as the test split (`origin.drawn`).
"""

import csv
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.data.folders import DataError, File, Folder, LeftOut
from harness.data.images import of_files
from harness.data.origin import DRAWN, Origin, check_classes, drawn, found, in_order
from harness.plans.spec import Data
from harness.values import nearest

_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "val"
)
_NAMED = 5


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    label: str
    split: str | None


def origin(data: Data, path: Path) -> Origin:
    """The data set in the table at `path`.

    Raises:
        DataError: the table does not exist, is not CSV or lacks a column; a row has no label or an unknown split; a
            file does not exist or is outside the table's folder; or a class has no images.
    """
    table = found(path, "csv", ".csv")
    folder, remarks = _folder(table, _rows(table), data.allow_missing_test_classes)
    made = of_files(folder, data, str(table), remarks)
    return replace(made, facts=[*made.facts, folder.classes, remarks])


def _rows(table: Path) -> list[_Row]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = {name.strip().lower(): name for name in reader.fieldnames or () if name}
            for needed in ("path", "label"):
                if needed not in columns:
                    raise DataError(
                        f"`data.name`: {str(table)!r} must have the columns path and label; it has "
                        f"{', '.join(columns) or 'none'}{_renamed(needed, columns)}"
                    )
            return [_row(table, reader.line_num, each, columns) for each in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"`data.name`: {str(table)!r} is not a CSV file in UTF-8 ({error}); export it again") from error


def _renamed(needed: str, columns: Mapping[str, str]) -> str:
    """What to do with a first line that lacks a column."""
    if any(sign in name for name in columns for sign in ";\t"):
        return ": part the cells with commas"
    return nearest(needed, columns) or ": name them in its first line"


def _row(table: Path, line: int, cells: Mapping[str, str | None], columns: Mapping[str, str]) -> _Row:
    path, label = ((cells[columns[name]] or "").strip() for name in ("path", "label"))
    label = unicodedata.normalize("NFC", label)
    for name, value in (("path", path), ("label", label)):
        if not value or not value.isprintable():
            raise DataError(
                f"`data.name`: every row needs a {name} of printable characters; line {line} of {str(table)!r} has "
                f"{value!r}"
            )
    if "split" not in columns:
        return _Row(line, path, label, None)
    split = (cells[columns["split"]] or "").strip().lower()
    if split not in _SPLITS:
        raise DataError(
            f"`data.name`: a split must be train, val or test; line {line} of {str(table)!r} has {split!r}"
            f"{nearest(split, _SPLITS)}"
        )
    return _Row(line, path, label, _SPLITS[split])


def _folder(table: Path, rows: list[_Row], test_may_lack: bool) -> tuple[Folder, tuple[str, ...]]:
    """The files in the form of a folder, and remarks on how they were split."""
    classes = in_order({row.label for row in rows})
    labels = np.array([classes.index(row.label) for row in rows], np.int64)
    counts, remarks, left_out = Counter(row.split for row in rows), tuple[str, ...](), tuple[LeftOut, ...]()
    if counts[None]:
        test, remarks = drawn(labels), (f"The table has no column split: {DRAWN}",)
        train = ~test
    else:
        tested = "test" if counts["test"] else "val"
        splits = np.array([row.split for row in rows], dtype=object)
        train, test = splits == "train", splits == tested
        if tested == "val" and counts["val"]:
            remarks = ("The table has no split test: its split val is tested on",)
        elif counts["val"]:
            left_out = (LeftOut("val", counts["val"], "in neither train nor test"),)
    check_classes(repr(str(table)), classes, labels[train], labels[test], test_may_lack)
    files = _files(table, rows, labels.tolist())
    chosen = [tuple(file for file, is_in in zip(files, some, strict=True) if is_in) for some in (train, test)]
    return Folder(table.parent, classes, chosen[0], chosen[1], left_out), remarks


def _files(table: Path, rows: list[_Row], labels: list[int]) -> list[File]:
    files, missing = list[File](), list[str]()
    for row, label in zip(rows, labels, strict=True):
        place = Path(os.path.realpath(table.parent / row.path))
        if not place.is_relative_to(table.parent):
            raise DataError(
                f"`data.name`: paths must stay inside the table's folder; {row.path!r} (line {row.line} of "
                f"{str(table)!r}) leads out of it: put the table beside or above its images"
            )
        try:
            stat = place.stat()
        except OSError:
            missing.append(f"{row.path!r} (line {row.line})")
            continue
        files.append(File(row.path, label, stat.st_size, stat.st_mtime_ns))
    if missing:
        named = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
        parted = ", with / between folders" if any("\\" in row.path for row in rows) else ""
        raise DataError(
            f"`data.name`: {len(missing)} of {len(rows)} files that {str(table)!r} names do not exist: {named}; paths "
            f"are relative to the table{parted}"
        )
    return files
