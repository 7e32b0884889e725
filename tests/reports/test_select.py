"""Which runs a report speaks of."""

import time
from pathlib import Path

from harness.records.events import Diverged, Failed
from harness.records.journal import Journal
from harness.tracking.delivery import Delivery
from harness.tracking.tracker import PlannedRun, Summary, Tracker
from reports.select import arrange, select
from tests.reports import records


def test_runs_come_in_the_designs_order_and_are_numbered(tmp_path: Path) -> None:
    """R1, R2, … go variant by variant, then by seed, however they were recorded."""
    made = [records.record(tmp_path, variant, seed) for seed in (2, 0, 1) for variant in ("group", "batch")]
    selection = records.arranged(made, records.design())
    assert [(r.variant, r.seed) for r in selection.records] == [(v, s) for v in ("batch", "group") for s in (0, 1, 2)]
    assert selection.numbers("group") == (4, 5, 6)
    assert selection.numbers() == (1, 2, 3, 4, 5, 6)


def test_runs_without_a_result_are_kept_with_their_reason(tmp_path: Path) -> None:
    """Diverged, failed, cut short and missing runs are each named; none is dropped, none becomes a result."""
    diverged = Diverged(time=time.time(), step=7, where="train")
    failed = Failed(time=time.time(), error="out of memory: try a smaller batch_size")
    cut = records.record(tmp_path, "group", 0)
    made = [
        records.record(tmp_path, "batch", 0),
        records.record(tmp_path, "batch", 1, end=diverged),
        records.record(tmp_path, "batch", 2, end=failed),
        type(cut)(cut.id, cut.key, (cut.events[0], cut.events[1], cut.events[3]), cut.predictions),
    ]
    selection = records.arranged(made, records.design())
    assert [(r.variant, r.seed) for r in selection.records] == [("batch", 0)]
    assert {(a.variant, a.seed): a.why for a in selection.absent} == {
        ("batch", 1): "diverged: the loss is not finite at step 7 (train)",
        ("batch", 2): "failed: out of memory: try a smaller batch_size",
        ("group", 0): "incomplete: epochs are missing",
        ("group", 1): "not run",
        ("group", 2): "not run",
    }


def test_a_run_in_anothers_place_has_no_result_there(tmp_path: Path) -> None:
    """A folder that was copied to another seed's name is not that seed: one result is never counted twice."""
    one, asked = records.record(tmp_path, "batch", 0), records.design(("batch",), (0, 1))
    keys = [records.started("batch", seed).spec.key for seed in (0, 1)]
    planned = tuple(PlannedRun(key=key, variant="batch", seed=seed) for seed, key in enumerate(keys))
    selection = arrange(Summary(design=asked, runs=planned), dict.fromkeys(keys, one), {})
    assert [record.seed for record in selection.records] == [0]
    assert [(a.seed, a.why) for a in selection.absent] == [(1, "its journal is that of batch seed 0")]


def test_a_baseline_without_results_gives_way(tmp_path: Path) -> None:
    """Comparisons then start from the first variant that has any."""
    selection = records.arranged([records.record(tmp_path, "group", 0)], records.design())
    assert selection.baseline == "group"


def test_only_runs_that_are_whole_in_mlflow_are_taken(tmp_path: Path) -> None:
    """By our own tag, whatever MLflow's status says, and if the epochs told at its end are those of its journal."""
    tracker = Tracker(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")
    made = [records.record(tmp_path, "batch", seed) for seed in (0, 1, 2)]
    for record in made:
        folder = tmp_path / "runs" / record.key
        kept = Journal(folder)
        for event in record.events:
            kept.append(event)
        (folder / "artifacts").mkdir()
        assert record.predictions is not None
        record.predictions.rename(folder / "artifacts" / "predictions.npz")
        Delivery(tracker).deliver(folder)
    planned = tuple(PlannedRun(key=record.key, variant="batch", seed=record.seed) for record in made)
    tracker.record_summary(Summary(design=records.design(), runs=planned))
    whole, cut, open_ = (tracker.runs("norms")[record.key].id for record in made)
    tracker.client.set_terminated(whole, "KILLED")
    tracker.client.set_tag(cut, "epochs_recorded", "1")
    tracker.client.set_tag(open_, "state", "running")
    selection = select(tracker, "norms")
    assert [(record.id, record.seed) for record in selection.records] == [(whole, 0)]
    assert selection.records[0].logits.shape == (records.IMAGES, 3)
    assert {absent.seed: absent.why for absent in selection.absent} == {
        1: "not whole in MLflow: 1 epochs, 2 in its journal; make sync",
        2: "running",
    }
    assert selection.further == 0
    tracker.record_summary(Summary(design=records.design(), runs=planned[1:], asked=2.0))
    assert select(tracker, "norms").further == 1
