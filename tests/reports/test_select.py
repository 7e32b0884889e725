"""Which runs a report speaks of."""

import time
from pathlib import Path

from harness.facts import Diverged, Failed
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
        type(cut)(cut.id, cut.key, (cut.facts[0], cut.facts[1], cut.facts[3]), cut.predictions),
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


def test_a_baseline_without_results_gives_way(tmp_path: Path) -> None:
    """Comparisons then start from the first variant that has any."""
    selection = records.arranged([records.record(tmp_path, "group", 0)], records.design())
    assert selection.baseline == "group"
