"""How an attempt begins: which checkpoints it goes on from, which it refuses, and its range test."""

import re
import shutil
from dataclasses import replace

import pytest

import harness.environment
import harness.execution.attempt
import harness.execution.run
from harness.data.load import Dataset, Split
from harness.environment import code_at_start
from harness.execution.attempt import sweep
from harness.plans.hyperparameters import SGD, LRFinder
from harness.records import journal
from harness.records.events import Diverged, EpochDone, Failed, LRFound, Resumed, Started, segments
from harness.training.evaluate import Interrupted
from harness.values import HarnessError
from tests.harness.execution.test_run import RECIPES
from tests.harness.runs import Runs


def test_a_range_test_that_diverged_is_a_fact(runs: Runs) -> None:
    """A NaN in the sweep ends the run where the sweep was; asked for alone, it is one line."""
    finder = LRFinder(start_lr=1e30, end_lr=1e31, iterations=20, diverge_threshold=100.0)
    wild = runs.changed("wild", optimizer=SGD(lr="find"), lr_finder=finder)
    *_, last = wild.events()
    assert isinstance(last, Diverged)
    assert (last.step, last.where) == (2, "lr_finder")
    with pytest.raises(HarnessError, match=r"^`lr_finder` ended at a loss that is not finite \(iteration 2\)$"):
        sweep(wild.spec, wild.circumstances, wild.data)


def test_a_range_tests_rate_is_found_once(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suggestion is the peak rate of the run, and a resumed run takes it from the journal."""
    found = runs.changed("found", **RECIPES["found"])
    found.interrupt(4)
    monkeypatch.setattr(harness.execution.attempt, "find_lr", None)
    events = list(found.events())
    suggestion = next(event.suggestion for event in events if isinstance(event, LRFound))
    assert {lr for event in events if isinstance(event, EpochDone) for lr in event.lrs} == {suggestion}


def test_a_checkpoint_of_other_data_or_code_is_refused(runs: Runs, dataset: Dataset) -> None:
    """The line says what differs, from what to what; with the old data and code back it goes on to the same end."""
    expected = runs.elsewhere("whole").finish()
    stopped = runs.elsewhere("stopped")
    stopped.interrupt(4)
    code = next(event.environment["code"] for event in journal.read(stopped.folder) if isinstance(event, Started))
    (stopped.root / "harness" / "data").mkdir(parents=True)
    (stopped.root / "harness" / "data" / "new.py").write_text("")
    code_at_start.cache_clear()  # as in a new process
    other = stopped.of(replace(dataset, checksum="9876"))
    *_, last = other.events()
    assert isinstance(last, Failed)
    begin = f"run {stopped.spec.key} cannot go on from its checkpoint: code {code} → "
    assert last.error.startswith(begin)
    assert ", data 0123 → 9876; undo that change" in last.error
    assert last.error.endswith(f", or remove runs/tiny_trial/{stopped.spec.key} to start from scratch")
    assert "\n" not in last.error
    shutil.rmtree(stopped.root / "harness")
    code_at_start.cache_clear()
    assert stopped.finish().weights_sha256 == expected.weights_sha256


def test_a_checkpoint_goes_on_under_the_same_circumstances(runs: Runs) -> None:
    """Other threads give other last bits; which GPU of one kind computes is no difference."""
    stopped = runs.elsewhere("stopped")
    stopped.interrupt(4)
    stopped.circumstances = stopped.circumstances.model_copy(update={"threads": 2})
    *_, last = stopped.events()
    assert isinstance(last, Failed)
    assert ': threads 1 → 2; undo that change, allow it with ALLOW="circumstances.threads", or' in last.error


def test_another_runs_checkpoint_is_set_aside(runs: Runs) -> None:
    """A checkpoint of the same shape, of a run at another rate, copied into the folder: the run begins anew and ends
    as it would have."""
    expected = runs.elsewhere("whole").finish()
    other = runs.changed("other", optimizer=SGD(lr=0.1))
    other.interrupt(8)
    mine = runs.elsewhere("mine")
    mine.interrupt(4)
    for path in mine.folder.glob("step-*.ckpt"):
        path.unlink()
    (taken,) = other.folder.glob("step-*.ckpt")
    taken.rename(mine.folder / taken.name)
    assert mine.finish().weights_sha256 == expected.weights_sha256
    assert [row["kind"] for row in mine.rows] == ["started", "epoch", "epoch", "finished"]


def test_epochs_lost_from_the_journal_are_trained_again(runs: Runs) -> None:
    """A checkpoint in the second epoch, a journal that has lost the first: nothing finishes with an epoch missing."""
    expected = runs.elsewhere("whole")
    end = expected.finish()
    stopped = runs.elsewhere("stopped")
    stopped.interrupt(8)
    lines = (stopped.folder / journal.NAME).read_bytes().splitlines(keepends=True)
    (stopped.folder / journal.NAME).write_bytes(b"".join(line for line in lines if b'"kind":"epoch"' not in line))
    assert stopped.finish().weights_sha256 == end.weights_sha256
    assert stopped.rows == expected.rows


def test_a_checkpoint_of_another_processor_is_refused(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end with other bits, under the name of the machine on which it began."""
    stopped = runs.elsewhere("stopped")
    stopped.interrupt(4)
    monkeypatch.setattr(harness.environment, "processor", lambda: "another")
    *_, last = stopped.events()
    assert isinstance(last, Failed)
    said = r'checkpoint: processor .* → another; undo that change, allow it with ALLOW="environment.processor", or'
    assert re.search(said, last.error)


def test_a_run_goes_on_elsewhere_where_that_is_allowed_by_name(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record says from which step on, and the part made there is held to what it was made with: a third machine
    has to be allowed again. Other images never are."""
    stopped = runs.elsewhere("stopped")
    stopped.interrupt(4)
    began = journal.read(stopped.folder)[0]
    monkeypatch.setattr(harness.environment, "processor", lambda: "another")
    stopped.circumstances = stopped.circumstances.model_copy(update={"threads": 2})
    stopped.allowed = ("environment.processor", "data")
    *_, last = stopped.events()
    assert isinstance(last, Failed)
    assert 'ALLOW="circumstances.threads"' in last.error
    stopped.allowed = ("environment", "circumstances.threads")
    with pytest.raises(Interrupted):
        list(stopped.events(stop_after=4))
    assert journal.read(stopped.folder)[0] == began
    resumed = next(event for event in journal.read(stopped.folder) if isinstance(event, Resumed))
    assert (resumed.step, resumed.circumstances.threads, resumed.environment["processor"]) == (3, 2, "another")
    assert [part.circumstances.threads for part in segments(journal.read(stopped.folder))] == [1, 2]
    stopped.allowed = ()
    stopped.finish()
    assert [event.kind for event in journal.read(stopped.folder)].count("resumed") == 1


def test_a_changed_run_without_checkpoint_begins_anew(runs: Runs, dataset: Dataset) -> None:
    """The old attempt's events are gone, and the result is that of the new data."""
    images = 255 - dataset.train.images
    changed = replace(dataset, checksum="9876", train=Split(images, dataset.train.labels))
    expected = runs.elsewhere("whole", dataset=changed)
    expected.finish()
    killed = runs.elsewhere("killed")
    events = killed.events()
    next(event for event in events if isinstance(event, EpochDone))
    events.close()
    anew = killed.of(changed)
    anew.finish()
    assert anew.rows == expected.rows
