"""Many runs: checked first, none harmed by another or by the store, stopped by a signal and taken up again."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from filelock import FileLock

import harness.execution.execute
import harness.execution.grid
import harness.execution.progress
import harness.execution.run
from harness.artifacts import write
from harness.data.load import Dataset
from harness.environment import code_at_start
from harness.execution.execute import Outcome, execute, find_lrs
from harness.execution.outset import Outset
from harness.execution.progress import Progress
from harness.execution.run import run_folder
from harness.execution.stopping import Stop
from harness.plans.experiment import Design
from harness.plans.hyperparameters import SGD, LRFinder
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, Data, Model, RunSpec
from harness.records import checkpoint, journal
from harness.records.events import Event
from harness.tracking.tracker import Summary, Tracker
from harness.training.loop import StepDone
from harness.values import SpecError


class Listener:
    """In the courier's place: remembers what it is told, and does something when it hears of an event."""

    def __init__(self, on_fact: Callable[[Path], None] = lambda folder: None):
        self.heard: list[tuple[str, str]] = []
        self.on_fact = on_fact

    def begin(self, summary: Any) -> None:
        self.heard.append(("summary", summary.design.experiment))

    def tell(self, folder: Path, now: bool = False) -> None:
        self.heard.append(("interrupt" if now else journal.read(folder)[-1].kind, folder.name))
        self.on_fact(folder)

    def finish(self, folders: Any) -> list[Path]:
        self.heard += [("finish", folder.name) for folder in folders]
        return []

    def is_latest(self, summary: Any) -> bool:
        return True


@pytest.fixture
def plan(spec: RunSpec, circumstances: Circumstances, design: Design) -> Plan:
    """Three seeds of one variant."""
    return Plan(design, tuple(spec.model_copy(update={"seed": seed}) for seed in range(3)), circumstances)


@pytest.fixture
def go(plan: Plan, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """go(listener=…, plan=…) executes, without figures."""
    monkeypatch.setattr(write, "write_artifacts", lambda *_: {})

    def execute_plan(listener: Any = None, plan: Plan = plan, allowed: tuple[str, ...] = ()) -> Outcome:
        monkeypatch.setattr(harness.execution.execute, "Courier", lambda *_: listener or Listener())
        return execute(plan, of(plan, dataset), cast("Tracker", None), tmp_path, 0, allowed)

    return execute_plan


def of(plan: Plan, dataset: Dataset) -> dict[Data, Dataset]:
    """The data sets of a plan, as `check` returns them."""
    return dict.fromkeys((spec.recipe.data for spec in plan.runs), dataset)


def changed(plan: Plan, **recipe: Any) -> Plan:
    """The plan's first run, with another recipe."""
    spec = plan.runs[0]
    return replace(plan, runs=(spec.model_copy(update={"recipe": spec.recipe.model_copy(update=recipe)}),))


def ends(root: Path, plan: Plan) -> list[str]:
    journals = [journal.read(run_folder(root, spec)) for spec in plan.runs]
    return [events[-1].kind if events else "nothing" for events in journals]


def test_a_failing_run_leaves_the_others_alone(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """It is recorded and said in one line; the next command makes it again, and it alone."""
    train = harness.execution.run.train

    def fail_for_seed_1(*arguments: Any) -> Iterator[Any]:
        if arguments[3] == [1]:
            raise RuntimeError("boom\nTraceback")
        return train(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(harness.execution.run, "train", fail_for_seed_1)
        outcome = go()
    assert outcome == Outcome(failed=[plan.runs[1].key])
    assert ends(tmp_path, plan) == ["finished", "failed", "finished"]
    assert "[2/3] plain seed 1: failed, RuntimeError: boom\n" in capsys.readouterr().out
    again = Listener()
    assert go(again) == Outcome()
    assert ends(tmp_path, plan) == ["finished"] * 3
    assert [key for kind, key in again.heard if kind == "epoch"] == [plan.runs[1].key] * 2
    assert again.heard[0] == ("summary", "tiny_trial")
    assert again.heard[-3:] == [("finish", spec.key) for spec in plan.runs]
    said = capsys.readouterr().out
    assert "[1/3] plain seed 0: already made\n" in said
    assert "[2/3] plain seed 1  epoch  1/2  train " in said


def test_what_changed_since_a_run_was_made_is_said(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path, capsys: Any
) -> None:
    """Other code and other threads do not make it again, for what is recorded stays; but nobody takes it for theirs."""
    assert go() == Outcome()
    (tmp_path / "harness" / "training").mkdir(parents=True)
    (tmp_path / "harness" / "training" / "new.py").write_text("")
    code_at_start.cache_clear()
    capsys.readouterr()
    assert go(plan=_on_threads(plan, 2)) == Outcome()
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("[1/3] plain seed 0: already made; changed since then: code ")
    assert said.endswith(f", threads 1 → 2; to make it again, remove runs/tiny_trial/{plan.runs[0].key}")


def _on_threads(plan: Plan, threads: int) -> Plan:
    return replace(plan, circumstances=plan.circumstances.model_copy(update={"threads": threads}))


def test_runs_that_could_not_be_compared_are_refused_before_they_train(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path
) -> None:
    """One seed made with one thread, two to be made with two: said before the first step, unless it is allowed."""
    assert go(plan=replace(plan, runs=plan.runs[:1])) == Outcome()
    two = _on_threads(plan, 2)
    with pytest.raises(SpecError) as refused:
        go(plan=two)
    assert str(refused.value) == (
        "1 runs of tiny_trial are made already, and a report would refuse to compare them with new ones (circumstances."
        "threads 1 → 2): undo that change, remove runs/tiny_trial to make all runs again, or allow the difference "
        'with ALLOW="circumstances.threads"'
    )
    assert ends(tmp_path, plan) == ["finished", "nothing", "nothing"]
    assert go(plan=two, allowed=("circumstances",)) == Outcome()


def test_later_seeds_of_all_variants_may_be_made_otherwise(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path
) -> None:
    """A block: seed 0 of both variants with one thread, seed 1 of both with two. Not so while seed 0 lacks a run."""
    named = [run.model_copy(update={"variant": name}) for run in plan.runs[:2] for name in ("plain", "other")]
    both = replace(plan, runs=tuple(named))
    assert go(plan=replace(both, runs=both.runs[:1])) == Outcome()
    with pytest.raises(SpecError, match="threads 1 → 2"):
        Outset(_on_threads(both, 2), {}, tmp_path, print).refuse_incomparable(())
    assert go(plan=replace(both, runs=both.runs[:2])) == Outcome()
    Outset(_on_threads(both, 2), {}, tmp_path, print).refuse_incomparable(())


def test_a_run_is_found_by_what_was_asked(go: Callable[..., Outcome], plan: Plan, tmp_path: Path, capsys: Any) -> None:
    """Recorded under another key, as before its recipe had got another field or its model another option: made,
    at that option's default alone."""
    one = replace(plan, runs=plan.runs[:1])
    assert go(plan=one) == Outcome()
    folder = run_folder(tmp_path, plan.runs[0])
    folder.rename(folder.with_name("tiny_trial-plain-s0-older"))
    option = Model(name="norm_cnn", head="gap", dropout=0.1, norm="batch")
    capsys.readouterr()
    assert go(plan=changed(one, model=option)) == Outcome()
    assert capsys.readouterr().out == "[1/1] plain seed 0: already made\n"
    for other in ({"dropout": 0.2}, {"dropout": 0.1, "norm": "group"}):
        go(plan=changed(one, model=Model(name="norm_cnn", head="gap", **other)))
        assert "already made" not in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["epochs", "artifacts", "copy"])
def test_a_run_that_is_not_whole_is_made_again(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path, damage: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch lost from its journal, a file cut short, a folder copied to its name: said, and not "already made"; the
    damaged journal is kept."""
    one, folder = replace(plan, runs=plan.runs[:1]), run_folder(tmp_path, plan.runs[0])

    def leave(place: Path, *_: Any) -> dict[str, tuple[int, str]]:
        place.mkdir(exist_ok=True)
        (place / "weights").write_text("whole")
        return {"weights": (5, "")}

    monkeypatch.setattr(write, "write_artifacts", leave)
    assert go(plan=one) == Outcome()
    lines = (folder / journal.NAME).read_bytes().splitlines(keepends=True)
    if damage == "epochs":
        (folder / journal.NAME).write_bytes(b"".join(lines[:1] + lines[2:]))
    elif damage == "artifacts":
        (folder / "artifacts" / "weights").write_text("who")
    else:
        text = (folder / journal.NAME).read_text()
        (folder / journal.NAME).write_text(text.replace('"seed":0', '"seed":7'))
    capsys.readouterr()
    assert go(plan=one) == Outcome()
    said = capsys.readouterr().out
    why = {
        "epochs": "its journal has 1 of 2 epochs",
        "artifacts": "artifacts/weights is missing or not whole",
        "copy": f"its journal lies in the folder of another run, {folder.name}",
    }
    named = 7 if damage == "copy" else 0
    assert f"plain seed {named}: {why[damage]}; it is made again\n" in said
    assert ends(tmp_path, one) == ["finished"]
    assert (folder / "journal.jsonl.damaged").exists()


def test_a_journal_that_cannot_be_read_stops_no_other_run(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path, capsys: Any
) -> None:
    """A pipe in a journal's place would hang whoever reads it: said with its cure, and the others are made."""
    folder = run_folder(tmp_path, plan.runs[1])
    folder.mkdir(parents=True)
    os.mkfifo(folder / journal.NAME)
    assert go() == Outcome(failed=[plan.runs[1].key])
    assert f"{folder / journal.NAME} must be a file; remove it to begin that run anew" in capsys.readouterr().out


def test_a_diverged_run_counts_as_failed_and_is_not_made_again(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path, capsys: Any
) -> None:
    """Said in one line with its step; the same command later says so by its outcome."""
    wild = changed(plan, optimizer=SGD(lr=1e30))
    key = wild.runs[0].key
    assert go(plan=wild) == Outcome(failed=[key])
    assert "plain seed 0: diverged, the loss is not finite at step 2 (train)\n" in capsys.readouterr().out
    assert go(plan=wild) == Outcome(failed=[key])
    assert "already made" in capsys.readouterr().out
    assert ends(tmp_path, wild) == ["diverged"]


@pytest.mark.parametrize("ends_there", [True, False], ids=["made there", "stopped there"])
def test_a_run_that_another_process_makes_is_waited_for(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path, ends_there: bool, monkeypatch: Any, capsys: Any
) -> None:
    """Two copies of a command share the work: the others are made first, then its end is awaited; if that process was
    stopped before, the run is made here."""
    first, folder = plan.runs[0], run_folder(tmp_path, plan.runs[0])
    folder.mkdir(parents=True)
    lock = FileLock(folder / "lock")
    lock.acquire()
    waits: list[float] = []

    def meanwhile(seconds: float) -> None:
        waits.append(seconds)
        lock.release()
        if ends_there:
            assert go(plan=replace(plan, runs=(first,))) == Outcome()

    clock = SimpleNamespace(sleep=meanwhile, monotonic=time.monotonic)
    monkeypatch.setattr(harness.execution.grid, "time", clock)
    assert go() == Outcome()
    assert len(waits) == 1
    assert ends(tmp_path, plan) == ["finished"] * 3
    assert "plain seed 0: another process is making it; waiting for that\n" in capsys.readouterr().out


def test_a_run_killed_at_its_very_end_leaves_no_checkpoints(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path
) -> None:
    """Its last event was written, its checkpoints not yet removed: the same command does that."""
    assert go() == Outcome()
    folder = run_folder(tmp_path, plan.runs[0])
    checkpoint.save(folder, {}, 1, plan.runs[0].key)
    assert go() == Outcome()
    assert not checkpoint.exists(folder)


@pytest.mark.parametrize("event", ["epoch", "finished"])
def test_a_signal_stops_the_run_and_those_after_it(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path, event: str
) -> None:
    """In a run's middle it is interrupted, at its end it is whole; no other begins; the same command finishes all."""
    sent: list[str] = []

    def stop_once(folder: Path) -> None:
        if not sent and journal.read(folder)[-1].kind == event:
            sent.append(folder.name)
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    listener = Listener(on_fact=stop_once)
    assert go(listener) == Outcome(signal=signal.SIGTERM)
    assert sent == [plan.runs[0].key]
    assert ends(tmp_path, plan) == [event, "nothing", "nothing"]
    assert (("interrupt", plan.runs[0].key) in listener.heard) == (event == "epoch")
    assert "finish" not in dict(listener.heard)  # a signal is not made to wait for a store
    assert signal.getsignal(signal.SIGTERM) == before
    assert go() == Outcome()
    assert ends(tmp_path, plan) == ["finished"] * 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_ends_at_once(number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The first is noted and said, the second ends the process with 128 and its number; a closed terminal is one."""
    ended_with: list[int] = []
    monkeypatch.setattr(os, "_exit", ended_with.append)
    stop = Stop()
    with stop.listening():
        assert not stop()
        signal.raise_signal(number)
        assert stop()
        assert ended_with == []
        assert capsys.readouterr().err == "stopping at the next step; once more ends it at once\n"
        signal.raise_signal(number)
    assert ended_with == [128 + number]


def test_a_store_that_fails_costs_no_run(
    plan: Plan, dataset: Dataset, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """No server, and the real courier: every run is made and in its journal; one warning; the outcome counts what
    MLflow lacks, what was asked among it."""
    monkeypatch.setattr(write, "write_artifacts", lambda *_: {})
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert execute(plan, of(plan, dataset), Tracker(tmp_path, nowhere), tmp_path, workers=0) == Outcome(undelivered=4)
    assert ends(tmp_path, plan) == ["finished"] * 3
    said = capsys.readouterr().out
    assert said.count("warning:") == said.count(f"warning: the tracking server '{nowhere}' does not answer (") == 1
    assert (tmp_path / "runs" / "tiny_trial" / "plan.json").exists()


def test_another_command_that_asks_otherwise_meanwhile_is_noticed(
    plan: Plan, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is of what was asked last: whoever asked before is told so, and is told nothing if nobody did."""
    monkeypatch.setattr(write, "write_artifacts", lambda *_: {})
    one = replace(plan, runs=plan.runs[:1])
    assert not execute(one, of(plan, dataset), Tracker(tmp_path), tmp_path, workers=0).superseded
    finish = harness.execution.execute.Courier.finish

    def meanwhile(courier: Any, folders: Any) -> Any:
        path = tmp_path / "runs" / "tiny_trial" / "plan.json"
        asked = Summary.model_validate_json(path.read_text())
        fewer = {"asked": asked.asked + 1, "runs": ()}
        path.write_text(asked.model_copy(update=fewer).model_dump_json())
        return finish(courier, folders)

    monkeypatch.setattr(harness.execution.execute.Courier, "finish", meanwhile)
    assert execute(one, of(plan, dataset), Tracker(tmp_path), tmp_path, workers=0).superseded


def test_range_tests_alone_are_a_line_each(plan: Plan, dataset: Dataset) -> None:
    """The suggestion, the range and the lowest loss; a recipe with a given rate says so."""
    finder = LRFinder(start_lr=1e-4, end_lr=0.5, iterations=20, diverge_threshold=100.0)
    found = changed(plan, optimizer=SGD(lr="find"), lr_finder=finder).runs[0]
    both = replace(plan, runs=(plan.runs[1], found))
    given, line = find_lrs(both, of(both, dataset), workers=0)
    assert given == "plain seed 1: optimizer.lr is given, 0.05"
    assert line.startswith("plain seed 0: suggests 0.")
    assert "; 20 iterations from 0.0001 to 0.5, loss 1." in line


def test_the_time_left_counts_what_this_command_made(
    plan: Plan, events: list[Event], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three runs of eight epochs, one made before, one taken up after seven: an epoch of 60 s leaves eight like it."""
    clock = iter([0.0, 60.0])
    monkeypatch.setattr(harness.execution.progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    eight = plan.runs[0].recipe.model_copy(update={"epochs": 8})
    long = replace(plan, runs=tuple(spec.model_copy(update={"recipe": eight}) for spec in plan.runs))
    show = Progress(long)
    show.skip(long.runs[0])
    show.start([long.runs[1]])
    for step in range(36, 41):
        show.event(long.runs[1], StepDone(step, total=40))
    show.event(long.runs[1], events[2].model_copy(update={"epoch": 8, "step": 40}))
    assert capsys.readouterr().out.rstrip().endswith("left about 08:00")
