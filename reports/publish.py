"""Publish a report together with the data it was built from, so that anyone can rebuild it.

`reports/published/<name>/data/` contains, for each experiment, its plan (`plan.json`), each run's journal and test
logits, and the test images that figures show: a few megabytes, without weights. The report is built from these data and
not from the more precise ones in MLflow, so that it can be reproduced to the last digit.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from harness.records import arrays
from harness.records.events import EVENT
from harness.records.packed import pack
from harness.records.record import Record
from harness.tracking.tracker import PlannedRun
from reports.build import build, replacing
from reports.grids import Images
from reports.select import Selection, arrange, from_folder


class Publication(BaseModel):
    """The experiments in a published report, and the differences that were allowed."""

    experiments: tuple[str, ...]
    allowed: tuple[str, ...]
    run_ids: dict[str, str]
    """Run key → MLflow run id."""
    absent: dict[str, str] = {}
    """Run key → the reason why a planned run has no result."""


def publish(
    selections: Sequence[Selection], folder: Path, allowed: Sequence[str], images: Sequence[Images | None]
) -> None:
    """Build a report in `folder`, together with its data.

    Runs of the same experiments that were published there before and are not available now, such as those from another
    machine, stay part of the report.

    Raises:
        NotComparable: runs differ in a field that is neither the factor nor in `allowed`; nothing is written.
    """
    selections = [_with_earlier(selection, folder) for selection in selections]
    publication = Publication(
        experiments=tuple(selection.design.experiment for selection in selections),
        allowed=tuple(allowed),
        run_ids={record.key: record.id for selection in selections for record in selection.records},
        absent={run.key: run.why for selection in selections for run in selection.absent},
    )
    with replacing(folder) as fresh:
        data = fresh.with_name(".data")  # beside the report, which is written last
        data.mkdir()
        (data / "publication.json").write_text(publication.model_dump_json(indent=2))
        for selection in selections:
            _keep_runs(selection, data / selection.design.experiment)
        kept = [from_folder(data / name, publication.run_ids, publication.absent) for name in publication.experiments]
        build(kept, fresh, allowed, images, linked=True)
        for name, shown in zip(publication.experiments, images, strict=True):
            _keep_images(shown, data / name)
        data.rename(fresh / "data")


def _with_earlier(selection: Selection, published: Path) -> Selection:
    """The selection together with earlier published runs of the same declared variants and images."""
    if not (published / "data" / "publication.json").exists():
        return selection
    now = {(record.variant, record.seed) for record in selection.records}
    images = {record.started.data.checksum for record in selection.records}
    earlier = [
        record
        for kept in kept_runs(published)
        if kept.design.experiment == selection.design.experiment
        for record in kept.records
        if record.variant in selection.design.variants
        and (record.variant, record.seed) not in now
        and record.started.data.checksum in images
        and _as_now(record, selection)
    ]
    if not earlier:
        return selection
    planned = [PlannedRun(key=record.key, variant=record.variant, seed=record.seed) for record in earlier]
    again = {(run.variant, run.seed) for run in planned}
    asked = [run for run in selection.summary.runs if (run.variant, run.seed) not in again]
    seeds = tuple(sorted({*selection.design.seeds, *(record.seed for record in earlier)}))
    design = selection.design.model_copy(update={"seeds": seeds})
    summary = selection.summary.model_copy(update={"design": design, "runs": (*asked, *planned)})
    states = {run.key: run.why for run in selection.absent}
    return arrange(summary, {record.key: record for record in (*selection.records, *earlier)}, states)


def _as_now(record: Record, selection: Selection) -> bool:
    """True if the variant's current runs have the same recipe, or if there are none."""
    ours = selection.variants.get(record.variant, [])
    return all(_asked(other) == _asked(record) for other in ours[:1])


def _asked(record: Record) -> dict[str, object]:
    return {name: value for name, value in record.started.spec.identity.items() if name != "seed"}


def kept_runs(published: Path) -> tuple[Selection, ...]:
    """The runs that a published report was built from, one selection per experiment."""
    data, publication = published / "data", _publication(published)
    return tuple(from_folder(data / name, publication.run_ids, publication.absent) for name in publication.experiments)


def rebuild(published: Path, folder: Path) -> None:
    """Rebuild a published report from its data in another folder."""
    data, publication = published / "data", _publication(published)
    runs = kept_runs(published)
    images = [_kept_images(data / name, kept) for name, kept in zip(publication.experiments, runs, strict=True)]
    build(runs, folder, publication.allowed, images, linked=True)


def _publication(published: Path) -> Publication:
    return Publication.model_validate_json((published / "data" / "publication.json").read_text())


def _keep_runs(selection: Selection, folder: Path) -> None:
    folder.mkdir()
    (folder / "plan.json").write_text(selection.summary.model_dump_json(indent=2))
    for record in selection.records:
        lines = [EVENT.dump_json(event) + b"\n" for event in record.events]
        (folder / f"{record.key}.jsonl").write_bytes(b"".join(lines))
        np.savez_compressed(folder / f"{record.key}.npz", logits=pack(record.logits), labels=_small(record))


def _small(record: Record) -> NDArray[np.unsignedinteger]:
    """A run's labels in the smallest sufficient integer type."""
    return record.labels.astype(np.min_scalar_type(len(record.started.data.classes) - 1))


def _keep_images(images: Images | None, folder: Path) -> None:
    if images and images.shown:
        shown = sorted(images.shown)
        np.savez_compressed(folder / "images.npz", index=np.array(shown), pixels=images.take(shown))


def _kept_images(folder: Path, kept: Selection) -> Images | None:
    """The published test images of an experiment, if any: at most as many as its runs had, of the same size."""
    if not (folder / "images.npz").exists() or not kept.records:
        return None
    data = kept.records[0].started.data
    channels, height, width = data.shape
    shapes = {"index": (), "pixels": (height, width, channels)}
    read = arrays.read_rows(folder / "images.npz", shapes, data.test_images)
    return Images(dict(zip(read["index"].tolist(), read["pixels"].astype(np.uint8), strict=True)))
