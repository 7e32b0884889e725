"""Tables of results that another program recorded: rows of text from a CSV file or from an MLflow experiment."""

import csv
from dataclasses import dataclass
from pathlib import Path

from harness.tracking.foreign import runs_of
from harness.tracking.tracker import Tracker
from harness.values import HarnessError, first_line


@dataclass(frozen=True)
class Table:
    """A table of text cells with unique column names, and the origin of each row."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    places: tuple[str, ...]
    """The origin of each row for error messages: "results.csv line 5"."""
    said: tuple[str, ...] = ()


def from_csv(path: Path) -> Table:
    """Read a CSV file whose first line has the column names.

    Raises:
        HarnessError: the file cannot be read, has no rows, or has two columns with the same name.
    """
    _refuse_other_separators(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, ValueError, csv.Error) as error:  # UnicodeDecodeError is a ValueError
        raise HarnessError(f"CSV {str(path)!r} cannot be read: {first_line(error)}") from error
    (_, columns), *rows = [(line, cells) for line, cells in lines if any(cells)] or [(1, [])]
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise HarnessError(f"CSV {path.name} has {twice[0]!r} as the name of several columns; name each once")
    if not rows:
        raise HarnessError(f"CSV {path.name} has no rows under its line of names; a row a run is needed")
    for line, cells in rows:
        if len(cells) != len(columns):
            raise HarnessError(
                f"{path.name} line {line}: every row must have {len(columns)} cells, as the first one; got {len(cells)}"
            )
    places = tuple(f"{path.name} line {line}" for line, _ in rows)
    return Table(path.stem, tuple(columns), tuple(dict(zip(columns, cells, strict=True)) for _, cells in rows), places)


def _refuse_other_separators(path: Path) -> None:
    """Refuse the separators that spreadsheets write in languages with a decimal comma."""
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline(1000).strip()
    except (OSError, ValueError):
        return  # reading the whole file gives the reason
    if "," not in first and any(sign in first for sign in ";\t"):
        raise HarnessError(
            f"CSV {path.name} must have commas between cells and points in numbers; its first line is {first!r}: "
            "export it again"
        )


def from_mlflow(tracker: Tracker, experiment: str) -> Table:
    """Read the finished runs of any MLflow experiment; columns are `params.x`, `metrics.x` and `tags.x`.

    Raises:
        HarnessError: there is no such experiment, or none of its runs has finished.
    """
    runs, unfinished = runs_of(tracker, experiment)
    if not runs:
        raise HarnessError(f"MLFLOW {experiment!r} has no finished runs; let one finish, or compare another experiment")
    columns = tuple(dict.fromkeys(name for _, values in runs for name in values))
    said = (f"Runs of {experiment} that did not finish, and so are left out: {unfinished}.",) if unfinished else ()
    return Table(experiment, columns, tuple(dict(v) for _, v in runs), tuple(f"run {key}" for key, _ in runs), said)
