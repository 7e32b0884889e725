"""Published reports: a report together with the data it was built from, so that anyone can build it again.

`reports/published/<name>/data/` holds, for each experiment, what was asked (`plan.json`), each run's journal and test
logits, and the few test images that figures show: a few megabytes, no weights.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel

from harness import journal
from harness.spec import HarnessError
from harness.tracking import Tracker
from reports.build import build, replacing
from reports.errors import Images
from reports.select import Selection, from_folder


class Publication(BaseModel):
    """What a published report joins, and the differences that were allowed."""

    experiments: tuple[str, ...]
    allowed: tuple[str, ...]
    run_ids: dict[str, str]
    """Run key → MLflow run id."""


def publish(
    tracker: Tracker,
    selections: Sequence[Selection],
    folder: Path,
    allowed: Sequence[str],
    images: Sequence[Images | None],
) -> None:
    """Build a report into `folder`, with its data beside it; what was published there before is replaced."""
    publication = Publication(
        experiments=tuple(selection.design.experiment for selection in selections),
        allowed=tuple(allowed),
        run_ids={record.key: record.id for selection in selections for record in selection.records},
    )
    with replacing(folder) as fresh:
        build(selections, fresh, allowed, images)
        (fresh / "data").mkdir()
        (fresh / "data" / "publication.json").write_text(publication.model_dump_json(indent=2))
        for selection, shown in zip(selections, images, strict=True):
            _keep(tracker, selection, shown, fresh / "data" / selection.design.experiment)


def _keep(tracker: Tracker, selection: Selection, images: Images | None, folder: Path) -> None:
    folder.mkdir()
    summary = tracker.summary(selection.design.experiment)
    (folder / "plan.json").write_text(summary.model_dump_json(indent=2))
    for record in selection.records:
        shutil.copy(tracker.artifact(record.id, journal.NAME), folder / f"{record.key}.jsonl")
        assert record.predictions is not None
        shutil.copy(record.predictions, folder / f"{record.key}.npz")
    if images and images.shown:
        shown = sorted(images.shown)
        np.savez_compressed(folder / "images.npz", index=np.array(shown), pixels=images.take(shown))


def rebuild(published: Path, folder: Path) -> None:
    """Build a published report again, from its data alone, into another folder."""
    data = published / "data"
    publication = Publication.model_validate_json((data / "publication.json").read_text())
    selections = [from_folder(data / name, publication.run_ids) for name in publication.experiments]
    build(selections, folder, publication.allowed, [_kept_images(data / name) for name in publication.experiments])


def _kept_images(folder: Path) -> Images | None:
    if not (folder / "images.npz").exists():
        return None
    with np.load(folder / "images.npz", allow_pickle=False) as file:
        return Images(dict(zip(file["index"].tolist(), file["pixels"], strict=True)))


def check(published: Path, update: bool = False) -> None:
    """Rebuild a published report and compare: every CSV file to six digits, every line of the text.

    Args:
        update: put the rebuilt report in the place of the published one; its data stay.

    Raises:
        HarnessError: a number, a verdict or a line no longer follows from the data; names it.
    """
    with tempfile.TemporaryDirectory() as made:
        fresh = Path(made) / "report"
        rebuild(published, fresh)
        if update:
            shutil.copytree(fresh, published, dirs_exist_ok=True)
            return
        for file in sorted(published.glob("*.csv")):
            _compare_tables(file, fresh / file.name)
        _compare_text(published / "report.md", fresh / "report.md")


def _compare_tables(old: Path, new: Path) -> None:
    try:
        pd.testing.assert_frame_equal(pd.read_csv(old), pd.read_csv(new), rtol=1e-6, atol=1e-9)
    except AssertionError as error:
        what = " ".join(str(error).split())
        raise HarnessError(f"{old.parent.name}/{old.name} no longer follows from its data: {what}") from error


def _compare_text(old: Path, new: Path) -> None:
    before, after = old.read_text().splitlines(), new.read_text().splitlines()
    for number, (was, now) in enumerate(zip(before, after, strict=False), 1):
        if was != now:
            raise HarnessError(f"{old.parent.name}/{old.name} line {number} was {was!r} and is now {now!r}")
    if len(before) != len(after):
        raise HarnessError(f"{old.parent.name}/{old.name} had {len(before)} lines and has {len(after)}")
