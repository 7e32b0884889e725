"""`make prune`: show which of an experiment's runs could be deleted and the space this frees; with YES=1 delete them.

Space in MLflow is freed only by `mlflow gc`; until then a deleted run can be restored.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.values import HarnessError, nearest

if TYPE_CHECKING:
    from harness.tracking.tracker import Tracker

HELP = "show, and with YES=1 delete, runs of an experiment"
_DAY = 86_400.0


@dataclass(frozen=True)
class Kept:
    """A run with its folder, size and end."""

    folder: Path
    variant: str
    ended: float
    """Time of its last event in seconds since 1970."""
    images: str
    """Checksum of its data set."""
    bytes: int

    @property
    def key(self) -> str:
        return self.folder.name


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", metavar="EXP")
    parser.add_argument("--variant", default="", help="only runs of this variant")
    parser.add_argument("--older", default="", help="only runs that ended more than this number of days ago")
    parser.add_argument("--yes", default="", help="1 deletes them")


def act(chosen: argparse.Namespace, root: Path) -> int:
    """List the runs, and delete them with YES=1; returns the exit status.

    Raises:
        HarnessError: there is no such experiment or variant, an option breaks its rule, or a run is being made.
    """
    from harness.commands.parser import switch, whole_number
    from harness.tracking.forget import forget
    from harness.tracking.tracker import Tracker

    sure, runs = switch(chosen.yes, "YES"), _kept(root)
    days = whole_number(chosen.older, "OLDER")
    gone = _chosen(runs, chosen.experiment, chosen.variant, days)
    if not gone:
        print("nothing to delete: no run is of that variant and that old")
        return 0
    tracker = Tracker(root)
    caches = _caches(root, gone, [run for run in runs if run not in gone])
    for line in _described(gone, _in_store(tracker, chosen.experiment, gone), caches):
        print(line)
    if not sure:
        print("nothing is deleted yet; the same command with YES=1 deletes them")
        return 0
    made = forget(tracker, root, [run.key for run in gone])
    for cache in caches:
        shutil.rmtree(cache)
    print(
        f"deleted: {made.folders} in runs/, {made.runs} in MLflow (restored with mlflow runs restore, until mlflow gc)"
    )
    return 0


def _kept(root: Path) -> list[Kept]:
    """The runs of all experiments, except those whose journal cannot be read."""
    from harness.records import journal
    from harness.tracking.state import begun

    found = []
    for path in sorted((root / "runs").glob(f"*/*/{journal.NAME}")):
        with suppress(HarnessError):
            events = journal.read(path.parent)
            if started := begun(events):
                images, variant = started.data.checksum, started.spec.variant
                found.append(Kept(path.parent, variant, events[-1].time, images, _size(path.parent)))
    return found


def _chosen(runs: Sequence[Kept], experiment: str, variant: str, days: int | None) -> list[Kept]:
    ours = [run for run in runs if run.folder.parent.name == experiment]
    if not ours:
        known = sorted({run.folder.parent.name for run in runs})
        hint = nearest(experiment, known) or f"; there are {', '.join(known) or 'none'}"
        raise HarnessError(f"EXP must name an experiment with runs in runs/; got {experiment!r}{hint}")
    if variant and variant not in {run.variant for run in ours}:
        known = sorted({run.variant for run in ours})
        hint = nearest(variant, known) or f"; there are {', '.join(known)}"
        raise HarnessError(f"VARIANT must name a variant that has runs; got {variant!r}{hint}")
    before = time.time() - days * _DAY if days is not None else float("inf")
    return [run for run in ours if run.variant == (variant or run.variant) and run.ended < before]


def _caches(root: Path, gone: Sequence[Kept], left: Sequence[Kept]) -> list[Path]:
    """Cached data sets that only these runs use; they are decoded again when needed."""
    only = {run.images for run in gone} - {run.images for run in left}
    found = []
    for meta in sorted((root / "data" / "cache").glob("[!.]*/meta.json")):
        with suppress(OSError, ValueError, AttributeError):
            if json.loads(meta.read_text(encoding="utf-8")).get("checksum") in only:
                found.append(meta.parent)
    return found


def _in_store(tracker: "Tracker", experiment: str, gone: Sequence[Kept]) -> tuple[int, int | None]:
    """The number of these runs in MLflow, and the size of their artifacts in bytes (None if they are on a server)."""
    keys = {run.key for run in gone}
    runs = [run for run in tracker.listing(experiment) if run.key in keys and not run.deleted]
    folders = [tracker.folder(run) for run in runs]
    return len(runs), None if None in folders else sum(_size(each) for each in folders if each)


def _described(gone: Sequence[Kept], store: tuple[int, int | None], caches: Sequence[Path]) -> list[str]:
    said = [
        f"{run.key}  {_megabytes(run.bytes)}  ended {time.strftime('%Y-%m-%d', time.gmtime(run.ended))}" for run in gone
    ]
    said.append(f"runs/: {_count(len(gone), 'run')}, {_megabytes(sum(run.bytes for run in gone))}")
    runs, size = store
    room = "an unknown size, on a server" if size is None else _megabytes(size)
    said.append(
        f"MLflow: {_count(runs, 'run')}, {room} (free after mlflow gc; large files may be those of runs/ itself)"
    )
    said += [f"cache: {path.name}, {_megabytes(_size(path))} (decoded again when needed)" for path in caches]
    return said


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
