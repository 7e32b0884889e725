"""Many runs: checked first, none harmed by another, stopped by a signal and taken up again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness.__main__ as command_line
import harness.execute
import harness.run
from harness import artifacts, journal
from harness.data import Dataset
from harness.execute import Outcome, Stop, check, execute, find_lrs
from harness.plan import Plan
from harness.run import run_folder
from harness.spec import SGD, Design, HarnessError, LRFinder, Model, RunSpec, Transform
from harness.store import TrackingError

PROJECT = Path(__file__).resolve().parents[2]
EXPERIMENT = """
from harness import SGD, Data, Experiment, Model, Recipe

EXPERIMENT = Experiment(
    name="tiny",
    question="Does it stop and go on?",
    base=Recipe(
        data=Data(name="digits", image_size=12),
        model=Model(name="norm_cnn", head="gap"),
        optimizer=SGD(lr=0.02),
        epochs=6,
        batch_size=64,
    ),
    variants={"plain": {}},
    factor=(),
    baseline="plain",
    seeds=(0,),
)
"""


class Listener:
    """In the tracker's place: remembers what it is told, and does something when it hears of a fact."""

    def __init__(self, on_fact: Callable[[Path], None] = lambda folder: None):
        self.heard: list[tuple[str, str]] = []
        self.on_fact = on_fact

    def record_summary(self, summary: Any) -> None:
        self.heard.append(("summary", summary.design.experiment))

    def sync(self, folder: Path) -> None:
        if not folder.exists():
            return
        self.heard.append((journal.read(folder)[-1].kind, folder.name))
        self.on_fact(folder)

    def interrupt(self, folder: Path) -> None:
        self.heard.append(("interrupt", folder.name))


@pytest.fixture
def plan(spec: RunSpec, design: Design) -> Plan:
    """Three seeds of one variant."""
    return Plan(design, tuple(spec.model_copy(update={"seed": seed}) for seed in range(3)))


@pytest.fixture
def go(plan: Plan, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """go(listener=…, plan=…) executes, without figures."""
    monkeypatch.setattr(artifacts, "write", lambda *_: None)

    def execute_plan(listener: Any = None, plan: Plan = plan) -> Outcome:
        return execute(plan, {plan.runs[0].recipe.data: dataset}, listener or Listener(), tmp_path, workers=0)

    return execute_plan


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
    train = harness.run.train

    def fail_for_seed_1(*arguments: Any) -> Iterator[Any]:
        if arguments[4] == 1:
            raise RuntimeError("boom\nTraceback")
        return train(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(harness.run, "train", fail_for_seed_1)
        outcome = go()
    assert outcome == Outcome(failed=[plan.runs[1].key])
    assert ends(tmp_path, plan) == ["finished", "failed", "finished"]
    assert "[2/3] plain seed 1: failed, RuntimeError: boom\n" in capsys.readouterr().out
    again = Listener()
    assert go(again) == Outcome()
    assert ends(tmp_path, plan) == ["finished"] * 3
    assert [key for kind, key in again.heard if kind == "epoch"] == [plan.runs[1].key] * 2
    said = capsys.readouterr().out
    assert "[1/3] plain seed 0: already made\n" in said
    assert "[2/3] plain seed 1  epoch  1/2  train " in said


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
    run = harness.execute.run

    def locked(spec: RunSpec, *rest: Any) -> Iterator[Any]:
        if spec.seed == 0:
            raise HarnessError("it is being made by another process")
        return run(spec, *rest)

    monkeypatch.setattr(harness.execute, "run", locked)
    assert go().failed == [plan.runs[0].key]
    assert f"{plan.runs[0].key}: it is being made by another process\n" in capsys.readouterr().out


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


def test_a_store_that_fails_costs_no_run(go: Callable[..., Outcome], plan: Plan, tmp_path: Path, capsys: Any) -> None:
    """Every run is made and in its journal; one warning; the outcome counts what MLflow lacks."""

    def fail(folder: Path) -> None:
        raise TrackingError("MLflow cannot be written: it is down")

    assert go(Listener(on_fact=fail)) == Outcome(undelivered=3)
    assert ends(tmp_path, plan) == ["finished"] * 3
    said = capsys.readouterr().out
    warning = f"warning: MLflow cannot be written: it is down; facts are kept in {plan.runs[0].key} and delivered later"
    assert said.count("warning:") == said.count(warning + "\n") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": 73}, "`batch_size` must be 1..72, the training images of 'tiny'; got 73"),
        ({"model": Model(name="norm_cn")}, "'norm_cn'.*'norm_cnn'"),
        ({"model": Model(name="norm_cnn", drop=0.1)}, "'drop'.*'dropout'"),
        ({"model": Model(name="norm_cnn", head="avgpool4")}, "`image_size` must be 20 to 35 .*; got 12"),
        (
            {"augmentation": (Transform(name="RandomCrop", height=8, width=8),)},
            "must keep images at 12x12x3; got 8x8x3",
        ),
    ],
    ids=["batch size", "model", "option", "size", "augmentation"],
)
def test_what_cannot_run_is_found_before_the_first_run(
    plan: Plan, dataset: Dataset, tmp_path: Path, change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of many variants is checked too, against the images that it will see; nothing is written."""
    monkeypatch.setattr(harness.execute, "load", lambda data, root: dataset)
    assert check(plan, tmp_path) == {plan.runs[0].recipe.data: dataset}
    bad = changed(plan, **change).runs[0].model_copy(update={"variant": "last"})
    with pytest.raises(HarnessError, match=said):
        check(replace(plan, runs=(*plan.runs, bad)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_range_tests_alone_are_a_line_each(plan: Plan, dataset: Dataset) -> None:
    """The suggestion, the range and the lowest loss; a recipe with a given rate says so."""
    finder = LRFinder(start_lr=1e-4, end_lr=0.5, iterations=20, diverge_threshold=100.0)
    found = changed(plan, optimizer=SGD(lr="find"), lr_finder=finder).runs[0]
    both = replace(plan, runs=(plan.runs[1], found))
    given, line = find_lrs(both, {found.recipe.data: dataset}, workers=0)
    assert given == "plain seed 1: optimizer.lr is given, 0.05"
    assert line.startswith("plain seed 0: suggests 0.")
    assert "; 20 iterations from 0.0001 to 0.5, loss 1." in line


def start(project: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "run", "tiny"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=project, text=True, **pipes)


def test_sigterm_is_survived_by_the_real_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real digits, checkpoint, journal and MLflow: 143 within 10 seconds; the same command goes on from epoch 2 and
    ends with 0; once more, the run is not made again.
    """
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for folder in ("harness", "models"):
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text(EXPERIMENT)
    first = start(tmp_path)
    assert first.stdout is not None
    line = next(line for line in first.stdout if "epoch  1/6" in line)
    assert line.startswith("[1/1] plain seed 0  epoch  1/6  train ")
    first.send_signal(signal.SIGTERM)
    clock = time.monotonic()
    _, stderr = first.communicate(timeout=60)
    assert time.monotonic() - clock < 10
    assert first.returncode == 143
    assert stderr.endswith(
        "stopping at the next step; once more ends it at once\nstopped; the same command goes on from here\n"
    )
    (checkpoint,) = (tmp_path / "runs").rglob("*.ckpt")
    folder = checkpoint.parent
    second = start(tmp_path)
    stdout, stderr = second.communicate(timeout=300)
    assert (second.returncode, stderr) == (0, "")
    assert "epoch  6/6" in stdout
    assert "epoch  1/6" not in stdout
    facts = journal.read(folder)
    assert [fact.kind for fact in facts] == ["started", *["epoch"] * 6, "finished"]
    assert not list(folder.glob("*.ckpt"))
    assert (folder / "artifacts" / "figures" / "curves.png").exists()
    monkeypatch.setattr(command_line, "ROOT", tmp_path)
    assert command_line.main(["run", "tiny"]) == 0
    assert capsys.readouterr().out == "[1/1] plain seed 0: already made\n"
    assert journal.read(folder) == facts
