"""Many runs: checked first, none harmed by another or by the store, stopped by a signal and taken up again."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

import harness.execution.execute
import harness.execution.grid
import harness.execution.progress
import harness.execution.run
from harness.artifacts import write
from harness.data.load import Dataset
from harness.execution.execute import Outcome, execute, find_lrs
from harness.execution.run import run_folder
from harness.execution.stopping import Stop
from harness.plans.hyperparameters import SGD, LRFinder
from harness.plans.plan import Plan
from harness.records import checkpoint, holding, journal
from harness.tracking.tracker import Summary, Tracker
from tests.harness.execution.conftest import Listener, changed, ends, of


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


def test_a_design_that_can_show_nothing_says_so_before_it_trains(
    go: Callable[..., Outcome], plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five seeds of two variants cost hours and decide nothing, whatever their results; six can."""
    for seeds, said in ((5, "5 seeds"), (1, "1 seed"), (6, None)):
        design = plan.design.model_copy(update={"variants": ("plain", "other"), "seeds": tuple(range(seeds))})
        go(plan=replace(plan, design=design, runs=plan.runs[:1]))
        first = capsys.readouterr().out.splitlines()[0]
        note = f"note: {said} cannot show any difference between 2 variants; 6 can"
        assert (first == note) == (said is not None), first
        assert first == note or first.startswith("[1/1] plain seed 0")


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


def test_a_run_killed_at_its_very_end_leaves_nothing_behind(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path
) -> None:
    """Its last event was written, its checkpoints and its heartbeat not yet removed: the same command does that."""
    assert go() == Outcome()
    folder = run_folder(tmp_path, plan.runs[0])
    files = set(folder.iterdir())
    checkpoint.save(folder, {}, 1, plan.runs[0].key)
    with holding.hold(folder):
        heartbeat = (folder / holding.NAME).read_bytes()
    (folder / holding.NAME).write_bytes(heartbeat)
    assert go() == Outcome()
    assert set(folder.iterdir()) == files


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
