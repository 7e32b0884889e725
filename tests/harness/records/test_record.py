"""A record: what a journal says of one run, and when that is a result."""

from pathlib import Path

import numpy as np
import pytest

from harness.records.events import Diverged, Event, Failed
from harness.records.record import Record
from harness.values import HarnessError

DIVERGED = Diverged(time=1005.0, step=7, where="train")
FAILED = Failed(time=1005.0, error="RuntimeError: boom")


def record(events: list[Event], predictions: Path | None = None) -> Record:
    return Record("abc", "key", tuple(events), predictions)


def test_a_finished_run_says_what_it_was(events: list[Event]) -> None:
    """Variant and seed come from the spec; epochs and the range test in order; there is no problem."""
    run = record(events)
    assert (run.variant, run.seed, run.key) == ("plain", 0, "key")
    assert [done.epoch for done in run.epochs] == [1, 2]
    assert run.lr_found == events[1]
    assert run.finished == events[-1]
    assert run.problem is None


@pytest.mark.parametrize("lost", [2, 3])
def test_missing_epochs_are_not_a_finished_run(events: list[Event], lost: int) -> None:
    """`Finished` alone is not believed: every epoch that the spec asks for must be there, once."""
    run = record([event for place, event in enumerate(events) if place != lost])
    assert run.finished is None
    assert run.problem == "incomplete: epochs are missing"
    assert record([*events[:3], *events[2:]]).finished is None
    assert record(events[:-1]).problem == "incomplete: epochs are missing"


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        (DIVERGED, "diverged: the loss is not finite at step 7 (train)"),
        (FAILED, "failed: RuntimeError: boom"),
    ],
)
def test_runs_without_a_result_say_why(events: list[Event], end: Event, problem: str) -> None:
    """A diverged or failed run has no result, and its reason in words."""
    run = record([*events[:3], end])
    assert run.finished is None
    assert run.problem == problem


@pytest.mark.parametrize("place", [0, 3])
def test_a_failure_that_was_made_good_does_not_count(events: list[Event], place: int) -> None:
    """A run that failed, even before it could say what it was, went on and finished has its result."""
    run = record([*events[:place], FAILED, *events[place:]])
    assert (run.finished, run.variant) == (events[-1], "plain")
    assert run.problem is None


def test_a_journal_without_beginning_is_refused(events: list[Event]) -> None:
    """The error names the run and says what to do."""
    with pytest.raises(HarnessError, match=r"^run abc has no beginning in its journal; make it again$"):
        _ = record(events[1:]).started


def test_predictions_are_read_as_they_were_written(events: list[Event], tmp_path: Path) -> None:
    """Logits, labels and which images are right; a file that holds Python objects is not opened."""
    logits = np.array([[1.0, 2.0, 0.0], [3.0, 0.0, 1.0], [0.0, 1.0, 0.5]] * 8, np.float32)
    np.savez_compressed(tmp_path / "p.npz", logits=logits, labels=np.array([1] * 24, np.int32))
    run = record(events, tmp_path / "p.npz")
    np.testing.assert_array_equal(run.logits, logits)
    np.testing.assert_array_equal(run.labels, [1] * 24)
    np.testing.assert_array_equal(run.correct, [True, False, True] * 8)
    np.savez(tmp_path / "bad.npz", logits=np.full((24, 3), {}, dtype=object), labels=np.zeros(24, int))
    with pytest.raises(HarnessError, match=r"must be numbers, \(24, 3\), as recorded; it holds object of \(24, 3\)$"):
        _ = record(events, tmp_path / "bad.npz").logits
