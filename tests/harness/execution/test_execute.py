"""Many runs: checked first, none harmed by another or by the store, stopped by a signal and taken up again."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import harness.execution.execute
import harness.execution.run
from harness.artifacts import write as artifacts
from harness.data.load import Dataset
from harness.execution.execute import Outcome, Progress, Stop, check, execute, find_lrs
from harness.execution.run import run_folder
from harness.plans.hyperparameters import SGD, LRFinder, OneCycle
from harness.plans.plan import Plan
from harness.plans.spec import Data, Design, Model, RunSpec, Transform
from harness.records import checkpoint, journal
from harness.records.events import Fact
from harness.tracking.tracker import Summary, Tracker
from harness.training.device import code_at_start
from harness.training.loop import StepDone
from harness.values import HarnessError

CROP_8 = Transform(name="RandomCrop", height=8, width=8)


class Listener:
    """In the courier's place: remembers what it is told, and does something when it hears of a fact."""

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
def plan(spec: RunSpec, design: Design) -> Plan:
    """Three seeds of one variant."""
    return Plan(design, tuple(spec.model_copy(update={"seed": seed}) for seed in range(3)))


@pytest.fixture
def go(plan: Plan, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """go(listener=…, plan=…) executes, without figures."""
    monkeypatch.setattr(artifacts, "write", lambda *_: None)

    def execute_plan(listener: Any = None, plan: Plan = plan) -> Outcome:
        monkeypatch.setattr(harness.execution.execute, "Courier", lambda *_: listener or Listener())
        return execute(plan, of(plan, dataset), cast("Tracker", None), tmp_path, workers=0)

    return execute_plan


def of(plan: Plan, dataset: Dataset) -> dict[Data, Dataset]:
    """The data sets of a plan, as `check` returns them."""
    return dict.fromkeys((spec.recipe.data for spec in plan.runs), dataset)


def changed(plan: Plan, **recipe: Any) -> Plan:
    """The plan's first run, with another recipe."""
    spec = plan.runs[0]
    return Plan(plan.design, (spec.model_copy(update={"recipe": spec.recipe.model_copy(update=recipe)}),))


def ends(root: Path, plan: Plan) -> list[str]:
    journals = [journal.read(run_folder(root, spec)) for spec in plan.runs]
    return [facts[-1].kind if facts else "nothing" for facts in journals]


def test_a_failing_run_leaves_the_others_alone(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """It is recorded and said in one line; the next command makes it again, and it alone."""
    train = harness.execution.run.train

    def fail_for_seed_1(*arguments: Any) -> Iterator[Any]:
        if arguments[4] == 1:
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
    go: Callable[..., Outcome], plan: Plan, dataset: Dataset, tmp_path: Path, capsys: Any
) -> None:
    """Other images and other code do not make it again, for what is recorded stays; but nobody takes it for theirs."""
    assert go() == Outcome()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "new.py").write_text("")
    code_at_start.cache_clear()
    capsys.readouterr()
    others = of(plan, replace(dataset, checksum="9876"))
    assert execute(plan, others, cast("Tracker", None), tmp_path, workers=0) == Outcome()
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("[1/3] plain seed 0: already made; changed since then: code ")
    assert said.endswith(f", data 0123 → 9876; to make it again, remove runs/tiny_trial/{plan.runs[0].key}")


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


def test_a_run_made_elsewhere_is_not_waited_for(
    go: Callable[..., Outcome], plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """What cannot begin is said, counted once, and the others go on."""
    run_together = harness.execution.execute.run_together

    def locked(specs: list[RunSpec], *rest: Any) -> Iterator[Any]:
        if specs[0].seed == 0:
            raise HarnessError("it is being made by another process")
        return run_together(specs, *rest)

    monkeypatch.setattr(harness.execution.execute, "run_together", locked)
    assert go().failed == [plan.runs[0].key]
    assert "it is being made by another process\n" in capsys.readouterr().out


def test_a_run_that_another_process_ends_meanwhile_has_a_result(
    go: Callable[..., Outcome], plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not begin here, and is there when this command ends."""
    run_together = harness.execution.execute.run_together

    def locked(specs: list[RunSpec], *rest: Any) -> Iterator[Any]:
        if specs[0].seed == 0:
            raise HarnessError("it is being made by another process")
        if specs[0].seed == 1:
            list(run_together([plan.runs[0]], *rest))
        return run_together(specs, *rest)

    monkeypatch.setattr(harness.execution.execute, "run_together", locked)
    assert go() == Outcome()


def test_a_run_killed_at_its_very_end_leaves_no_checkpoints(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path
) -> None:
    """Its last fact was written, its checkpoints not yet removed: the same command does that."""
    assert go() == Outcome()
    folder = run_folder(tmp_path, plan.runs[0])
    checkpoint.save(folder, {}, 1)
    assert go() == Outcome()
    assert not checkpoint.exists(folder)


@pytest.mark.parametrize("fact", ["epoch", "finished"])
def test_a_signal_stops_the_run_and_those_after_it(
    go: Callable[..., Outcome], plan: Plan, tmp_path: Path, fact: str
) -> None:
    """In a run's middle it is interrupted, at its end it is whole; no other begins; the same command finishes all."""
    sent: list[str] = []

    def stop_once(folder: Path) -> None:
        if not sent and journal.read(folder)[-1].kind == fact:
            sent.append(folder.name)
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    listener = Listener(on_fact=stop_once)
    assert go(listener) == Outcome(signal=signal.SIGTERM)
    assert sent == [plan.runs[0].key]
    assert ends(tmp_path, plan) == [fact, "nothing", "nothing"]
    assert (("interrupt", plan.runs[0].key) in listener.heard) == (fact == "epoch")
    assert "finish" not in dict(listener.heard)  # a signal is not made to wait for a store
    assert signal.getsignal(signal.SIGTERM) == before
    assert go() == Outcome()
    assert ends(tmp_path, plan) == ["finished"] * 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once(number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The first is noted and said, the second ends the process with 130 or 143."""
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
    monkeypatch.setattr(artifacts, "write", lambda *_: None)
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
    monkeypatch.setattr(artifacts, "write", lambda *_: None)
    one = replace(plan, runs=plan.runs[:1])
    assert not execute(one, of(plan, dataset), Tracker(tmp_path), tmp_path, workers=0).asked_otherwise
    finish = harness.execution.execute.Courier.finish

    def meanwhile(courier: Any, folders: Any) -> Any:
        path = tmp_path / "runs" / "tiny_trial" / "plan.json"
        asked = Summary.model_validate_json(path.read_text())
        path.write_text(asked.model_copy(update={"asked": asked.asked + 1}).model_dump_json())
        return finish(courier, folders)

    monkeypatch.setattr(harness.execution.execute.Courier, "finish", meanwhile)
    assert execute(one, of(plan, dataset), Tracker(tmp_path), tmp_path, workers=0).asked_otherwise


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": 73}, "`batch_size` must be 1..72, the training images of 'tiny'; got 73"),
        ({"model": Model(name="norm_cn")}, r"got 'norm_cn'; did you mean 'norm_cnn' or"),
        (
            {"model": Model(name="norm_cnn", drop=0.1)},
            r"^`model.drop` is not an option of norm_cnn .*; did you mean 'dropout'\?$",
        ),
        ({"model": Model(name="norm_cnn", head="avgpool4")}, r"^`model.image_size` must be 20 to 35 .*; got 12$"),
        ({"augmentation": (CROP_8,)}, "must keep images at 12x12x3; got 8x8x3"),
        ({"device": "cuda:99"}, r"^`device` 'cuda:99' is not on this machine"),
        ({"schedule": OneCycle(pct_start=0.1)}, r"^`schedule.pct_start` must leave more .*; got 0.1 of 10 steps;"),
    ],
    ids=["batch size", "model", "option", "size", "augmentation", "device", "schedule"],
)
def test_what_cannot_run_is_found_before_the_first_run(
    plan: Plan, dataset: Dataset, tmp_path: Path, change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of many variants is checked too, against the images that it will see; nothing is written."""
    monkeypatch.setattr(harness.execution.execute, "load", lambda data, root: dataset)
    assert check(plan, tmp_path) == of(plan, dataset)
    bad = changed(plan, **change).runs[0].model_copy(update={"variant": "last"})
    with pytest.raises(HarnessError, match=said):
        check(replace(plan, runs=(*plan.runs, bad)), tmp_path)
    assert list(tmp_path.iterdir()) == []


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
    plan: Plan, facts: list[Fact], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three runs of eight epochs, one made before, one taken up after seven: an epoch of 60 s leaves eight like it."""
    clock = iter([0.0, 60.0])
    monkeypatch.setattr(harness.execution.execute, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    eight = plan.runs[0].recipe.model_copy(update={"epochs": 8})
    long = replace(plan, runs=tuple(spec.model_copy(update={"recipe": eight}) for spec in plan.runs))
    show = Progress(long)
    show.skip(long.runs[0])
    show.start([long.runs[1]])
    for step in range(36, 41):
        show.event(long.runs[1], StepDone(step, total=40))
    show.event(long.runs[1], facts[2].model_copy(update={"epoch": 8, "step": 40}))
    assert capsys.readouterr().out.rstrip().endswith("left about 08:00")
