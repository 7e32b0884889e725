"""Check that published reports follow from their data: rebuild them, and compare them number by number."""

import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from harness.values import HarnessError, first_line, in_one_line
from reports.publish import rebuild


def holds_report(folder: Path) -> bool:
    """True if a folder in `reports/published/` contains a report; others contain pictures or measurements.

    Raises:
        HarnessError: the folder has a report without its data.
    """
    if (folder / "data" / "publication.json").exists():
        return True
    if (folder / "report.md").exists() or (folder / "data").exists():
        raise HarnessError(f"{folder.name} has no data/publication.json to follow from; publish it again, or remove it")
    return False


def check(published: Path, update: bool = False) -> None:
    """Rebuild a published report and compare its files, all CSV numbers to six digits, and every line of text.

    Args:
        update: replace the published report by the rebuilt one; its data are kept.

    Raises:
        HarnessError: a number, a verdict or a line differs; the message names it.
    """
    with tempfile.TemporaryDirectory() as made:
        fresh = Path(made) / "report"
        _rebuild(published, fresh)
        if update:
            _replace(published, fresh)
        else:
            compare(published, fresh)


def compare(published: Path, fresh: Path) -> None:
    """Raise HarnessError for the first difference between a published report and a rebuilt one; see `check`."""
    _compare_files(published, fresh)
    for file in sorted(published.glob("*.csv")):
        _compare_file(_compare_tables, file, fresh / file.name)
    for file in (published / "report.md", published / "report.html", *sorted(published.glob("*.tex"))):
        _compare_file(_compare_text, file, fresh / file.name)


def _compare_file(compare: Callable[[Path, Path], None], old: Path, new: Path) -> None:
    try:
        compare(old, new)
    except HarnessError:
        raise
    except ValueError as error:  # not a table or not UTF-8
        raise HarnessError(
            f"{old.parent.name}/{old.name} cannot be read ({first_line(error)}); publish it again"
        ) from error


def _rebuild(published: Path, fresh: Path) -> None:
    try:
        rebuild(published, fresh)
    except HarnessError as error:
        raise HarnessError(f"{published.name}: {error}") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise HarnessError(
            f"{published.name}: its data cannot be read ({first_line(error)}); publish it again"
        ) from error


def _replace(published: Path, fresh: Path) -> None:
    for path in published.iterdir():
        if path.name != "data":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(fresh, published, dirs_exist_ok=True)


def _compare_files(published: Path, fresh: Path) -> None:
    was, now = (
        {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} for root in (published, fresh)
    )
    was = {name for name in was if not name.startswith("data/")}
    if was != now:
        changes = [f"{name} is missing" for name in sorted(now - was)]
        changes += [f"{name} is in no report built from these data" for name in sorted(was - now)]
        raise HarnessError(f"{published.name}: {'; '.join(changes)}")


def _compare_tables(old: Path, new: Path) -> None:
    try:
        pd.testing.assert_frame_equal(pd.read_csv(old), pd.read_csv(new), rtol=1e-6, atol=1e-9)
    except AssertionError as error:
        what = in_one_line(error)
        raise HarnessError(f"{old.parent.name}/{old.name} no longer follows from its data: {what}") from error


def _compare_text(old: Path, new: Path) -> None:
    before, after = _lines(old), _lines(new)
    for number, (was, now) in enumerate(zip(before, after, strict=False), 1):
        if was != now:
            was, now = _around_difference(was, now)
            raise HarnessError(f"{old.parent.name}/{old.name} line {number} was {was!r} and is now {now!r}")
    if len(before) != len(after):
        raise HarnessError(f"{old.parent.name}/{old.name} had {len(before)} lines and has {len(after)}")


def _around_difference(was: str, now: str) -> tuple[str, str]:
    """Two lines, or of long ones the part in which they begin to differ."""
    differs = next((at for at, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now)))
    part = slice(max(0, differs - 50), differs + 100)
    return was[part], now[part]


def _lines(file: Path) -> list[str]:
    """The lines of a text; of an HTML page only its words, since pictures depend on the machine's fonts."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".html":
        text = re.sub(r"<(style|script)>.*?</\1>|<meta [^>]*>", "", text, flags=re.DOTALL)
        text = re.sub(r'src="data:[^"]*"|(width|height)="\d+"', "", text)
    return text.splitlines()
