"""What a published report keeps: enough to be built again to the last digit, in a few megabytes."""

from pathlib import Path

import numpy as np
import pytest

from harness.plans.spec import RunSpec
from harness.records.events import Diverged
from harness.values import HarnessError
from reports.guard import NotComparable
from reports.publish import kept_runs, publish
from reports.select import Selection
from reports.verify import check
from tests.reports import records
from tests.reports.test_build import IMAGES


def renamed(selection: Selection, name: str) -> Selection:
    """The same runs under another experiment's name."""
    made = []
    for record in selection.records:
        spec = record.started.spec
        spec = RunSpec(experiment=name, variant=spec.variant, seed=spec.seed, recipe=spec.recipe)
        first = record.started.model_copy(update={"spec": spec})
        made.append(type(record)(record.id, spec.key, (first, *record.events[1:]), record.predictions))
    summary = selection.summary
    runs = tuple(
        run.model_copy(update={"key": f"{name}-{run.key.partition('-')[2]}"}) for run in selection.summary.runs
    )
    design = summary.design.model_copy(update={"experiment": name})
    return Selection(summary.model_copy(update={"design": design, "runs": runs}), tuple(made), selection.absent)


def test_several_experiments_with_absent_runs_are_published_and_hold(tmp_path: Path) -> None:
    """What is missing or diverged stays in the published report, with its reason; the whole follows from its data."""
    made = [records.record(tmp_path, v, s) for v in ("batch", "group") for s in (0, 1, 2)]
    made[-1] = records.record(tmp_path, "group", 2, end=Diverged(time=1.0, step=7, where="train"))
    norms = records.arranged(made[1:], records.design())
    published = tmp_path / "norms-others"
    publish([norms, renamed(records.selection(tmp_path), "others")], published, (), [IMAGES, None])
    text = (published / "report.md").read_text()
    assert "| group | 2 | diverged: the loss is not finite at step 7 (train) |" in text
    assert "| batch | 0 | not run |" in text
    assert sorted(path.name for path in (published / "data").iterdir()) == ["norms", "others", "publication.json"]
    check(published)


def test_publishing_changes_no_number_that_counts_images(tmp_path: Path) -> None:
    """From compact data every table is as from the full ones, but for calibration's last digits."""
    from reports.build import build

    selection = records.selection(tmp_path)
    build([selection], tmp_path / "local", (), [IMAGES])
    publish([selection], tmp_path / "published", (), [IMAGES])
    for name in ("runs.csv", "summary.csv", "comparisons.csv", "flips.csv"):
        assert (tmp_path / "local" / name).read_text() == (tmp_path / "published" / name).read_text()


def test_a_refused_publication_leaves_nothing(tmp_path: Path) -> None:
    """The guard speaks before anything is put in place."""
    environment = records.ENVIRONMENT | {"code": "other"}
    odd = records.record(tmp_path, "group", 0, records.started("group", 0, environment=environment))
    selection = records.arranged([records.record(tmp_path, "batch", 0), odd], records.design(seeds=(0,)))
    with pytest.raises(NotComparable, match=r"environment\.code"):
        publish([selection], tmp_path / "published" / "norms", (), [None])
    assert list((tmp_path / "published").iterdir()) == []


def test_a_published_report_never_shrinks(tmp_path: Path) -> None:
    """Seeds made on another machine are added to those that are published; a variant that is no more goes."""
    folder = tmp_path / "published" / "norms"
    first = records.selection(tmp_path, seeds=(0, 1, 2))
    publish([first], folder, (), [None])
    later = records.arranged(
        [records.record(tmp_path, variant, seed) for variant in ("batch", "group") for seed in (2, 3)],
        records.design(seeds=(2, 3)),
    )
    publish([later], folder, (), [None])
    (kept,) = kept_runs(folder)
    assert [(record.variant, record.seed) for record in kept.records] == [
        (variant, seed) for variant in ("batch", "group") for seed in range(4)
    ]
    assert kept.design.seeds == (0, 1, 2, 3)
    check(folder)
    alone = records.arranged([records.record(tmp_path, "batch", 9)], records.design(("batch",), seeds=(9,)))
    publish([alone], folder, (), [None])
    assert {record.variant for record in kept_runs(folder)[0].records} == {"batch"}


def test_no_more_pictures_are_read_than_the_runs_had_test_images(tmp_path: Path) -> None:
    """A published report may come from anyone: what would unpack to a gigabyte is refused before it does."""
    selection = records.selection(tmp_path)
    publish([selection], tmp_path / "made", (), [IMAGES])
    (file,) = (tmp_path / "made" / "data").glob("*/images.npz")
    with np.load(file) as kept:
        index, pixels = kept["index"], kept["pixels"]
    check(tmp_path / "made")
    images = selection.records[0].started.data.test_images
    many = np.broadcast_to(pixels[:1], (images + 1, *pixels.shape[1:]))
    np.savez_compressed(file, index=np.arange(len(many)), pixels=many)
    with pytest.raises(HarnessError, match=rf"images.npz must hold at most {images} rows, as recorded; it holds"):
        check(tmp_path / "made")
    np.savez_compressed(file, index=index, pixels=np.zeros((len(index), 4000, 4000, 3), np.uint8))
    with pytest.raises(HarnessError, match=r"pixels in .*images.npz must be \(.*\), as recorded; it unpacks to \d{9}"):
        check(tmp_path / "made")
