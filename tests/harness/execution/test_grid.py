"""Many runs at once, through real workers: the same numbers as one after the other; nothing lost, nothing twice."""

import os
import re
import socket
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import harness.execution.execute
import harness.execution.progress
from harness.data.load import load
from harness.execution import patience
from harness.execution.engines import task
from harness.execution.engines.engine import Lost
from harness.execution.engines.task import Answer, Local, Task
from harness.execution.execute import Outcome
from harness.execution.following import Follower, lifeline
from harness.execution.progress import Board
from harness.execution.run import run_folder
from harness.execution.stopping import Stop
from harness.plans.experiment import Design
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, RunSpec
from harness.records import holding, journal
from harness.records.events import Event, Finished
from harness.records.holding import Holder
from harness.training.build import device_data
from harness.values import HarnessError
from tests.harness.execution.engines import undrawn
from tests.harness.execution.engines.conftest import Numbers, calm, images, make_calmly, make_grid, numbers, planned
from tests.harness.runs import write

__all__ = ["calm", "images", "make_calmly", "make_grid"]


@pytest.fixture
def plan(spec: RunSpec, circumstances: Circumstances, design: Design) -> Plan:
    """Four seeds of one variant, two epochs each."""
    return Plan(design, tuple(spec.model_copy(update={"seed": seed}) for seed in range(4)), circumstances)


def test_runs_in_two_processes_are_the_same_runs(
    make_grid: Callable[..., Outcome], calm: Numbers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JOBS=2: the same weights and scores; a line a run, without a carriage return; nothing left but the runs."""
    assert make_grid(jobs=2) == Outcome()
    assert numbers(tmp_path) == calm
    out, err = capsys.readouterr()
    assert "\r" not in out + err
    lines = out.splitlines()
    assert len([line for line in lines if ": test " in line]) == 4
    assert lines[-1].endswith("  4 of 4 done")
    assert [path.suffix for path in (tmp_path / "runs" / "tiny_grid").iterdir() if path.is_file()] == []
    assert make_grid(jobs=2) == Outcome()
    assert capsys.readouterr().out.count("already made\n") == 4


class Lossy:
    """An engine in this process that loses work: `losses` says after how many events of an attempt, in turn; None makes
    it whole, 0 loses it before it begins."""

    name, room = "lossy", 2

    def __init__(self, root: Path, losses: list[int | None]):
        self.root, self.losses, self.attempts = root, losses, 0

    def submit(self, function: Any, payload: str) -> "Future[str]":
        self.attempts += 1
        after, future = self.losses.pop(0) if self.losses else None, Future[str]()
        seen: list[Any] = []
        if after == 0:
            future.set_exception(Lost("a worker was lost"))
            return future
        given = Task.model_validate_json(payload)
        data = device_data(load(given.specs[0].recipe.data, self.root), "cpu")
        local = Local(lambda _: data, lambda: len(seen) == after, lambda _, event: seen.append(event))
        answer = function(payload, local=local)
        if after is None:
            future.set_result(answer)
        else:
            for spec in given.specs:  # what a worker leaves that is killed
                left = Holder(host="here", kernel=holding._kernel(), process=1, token=str(self.attempts))
                (run_folder(self.root, spec) / holding.NAME).write_text(left.model_dump_json())
            future.set_exception(Lost("a worker was lost"))
        return future

    def poll(self, seconds: float) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def lossy(make_grid: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """lossy(losses) makes the grid through that engine; returns it, and how that ended."""

    def make(losses: list[int | None], **changes: Any) -> tuple[Lossy, Outcome]:
        engine = Lossy(tmp_path, losses)
        monkeypatch.setattr(harness.execution.execute, "start", lambda *_: engine)
        return engine, make_grid(jobs=2, **changes)

    return make


def test_work_that_is_lost_goes_on_from_its_checkpoint(
    lossy: Callable[..., Any], calm: Numbers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost before it began, in the first epoch and in the second: handed in again until it is made, to the same end."""
    engine, outcome = lossy([0, 3, None, 6, 6])
    assert outcome == Outcome()
    assert numbers(tmp_path) == calm
    assert engine.attempts == 4 + 4
    said = capsys.readouterr().out
    assert said.count(": a worker was lost; made again from the last checkpoint\n") == 4
    assert len([line for line in said.splitlines() if ": test " in line]) == 4
    assert not re.search(r"[3-9] running", said)  # what waits to be handed in again does not run


def _finished(root: Path) -> int:
    ends = [journal.read(path.parent)[-1] for path in root.glob(f"runs/*/*/{journal.NAME}")]
    return sum(isinstance(end, Finished) for end in ends)


def test_work_that_gets_no_further_is_given_up(
    lossy: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After five attempts in a row, as where memory never suffices; the other runs are made."""
    monkeypatch.setattr(patience, "LEAST_SECONDS", 0.0)
    engine, outcome = lossy([1, *[None] * 3, *[1] * 9])
    assert (engine.attempts, len(outcome.failed), _finished(tmp_path)) == (4 + 5, 1, 3)
    assert "a worker was lost; no progress in 5 attempts in a row\n" in capsys.readouterr().out


def test_workers_that_are_lost_before_they_begin_lose_no_run(
    lossy: Callable[..., Any], calm: Numbers, tmp_path: Path
) -> None:
    """Nineteen in a row, as while somebody kills whatever starts: none of the runs is to blame."""
    engine, outcome = lossy([0] * 19)
    assert (engine.attempts, outcome) == (19 + 4, Outcome())
    assert numbers(tmp_path) == calm


def test_where_no_worker_ever_begins_the_command_ends(
    lossy: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After twenty in a row, and one more for each run that is left."""
    monkeypatch.setattr(patience, "LEAST_SECONDS", 0.0)
    engine, outcome = lossy([0] * 99)
    assert (engine.attempts, len(outcome.failed)) == (20 + 3, 4)
    assert "a worker was lost; 20 workers in a row were lost before they began\n" in capsys.readouterr().out


def test_seeds_of_a_stack_go_on_together(lossy: Callable[..., Any], tmp_path: Path) -> None:
    """Both seeds of a variant are one piece of work; lost once, both are made from where they stood."""
    engine, outcome = lossy([5, None, None], step="stacked")
    assert (engine.attempts, outcome) == (3, Outcome())
    assert [len(scores) for _, scores in numbers(tmp_path).values()] == [2] * 4


def test_a_worker_refuses_what_it_cannot_make(tmp_path: Path) -> None:
    """Storage that it does not share, code that is not the command's: a line for all, and nothing is begun."""
    plan = planned()
    with lifeline(tmp_path) as alive:
        given = Task(
            root=str(tmp_path),
            alive=str(alive),
            specs=plan.runs[:1],
            circumstances=plan.circumstances,
            design=plan.design,
            code="another",
            workers=0,
            found={},
            allowed=(),
        )
        answer = Answer.model_validate_json(task.make(given.model_dump_json()))
    host = socket.gethostname()
    assert answer.of_all
    assert answer.problem == (
        f"the code in {tmp_path}/harness, as a worker on {host} reads it, is not this command's; run it again"
    )
    answer = Answer.model_validate_json(task.make(given.model_dump_json()))
    assert answer.of_all
    assert answer.problem == (
        f"a worker on {host} does not see what this command wrote into {tmp_path}: the project's folder must lie on "
        "storage that all machines share, at the same path"
    )


def test_a_refusal_for_all_ends_the_command(lossy: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, not one a run."""
    refusal = Answer(problem="no shared storage", of_all=True).model_dump_json()
    monkeypatch.setattr(undrawn.task, "make", lambda *_, **__: refusal)
    with pytest.raises(HarnessError, match=r"^no shared storage$"):
        lossy([])


def test_a_worker_stops_when_the_command_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks for the command's file now and then, not at every step."""
    with lifeline(tmp_path) as alive:
        ends = task._Ends(alive, Stop())
        assert not ends()
    assert not ends()
    monkeypatch.setattr(task, "_LOOK_SECONDS", 0.0)
    assert ends()


def test_what_is_new_in_a_journal_is_read_once(events: list[Event], tmp_path: Path) -> None:
    """Whole lines alone; a journal that was written anew tells only what was not told before."""
    path = tmp_path / journal.NAME
    write(tmp_path, events[:1])
    follower = Follower(tmp_path)
    assert follower.fresh() == []
    write(tmp_path, events[:3])
    assert follower.fresh() == events[1:3]
    with path.open("ab") as file:
        file.write(b'{"kind": "epo')
    assert follower.fresh() == []
    journal.Journal(tmp_path).append(events[3])
    assert follower.fresh() == [events[3]]
    journal.Journal(tmp_path).rewrite(events[:2])
    assert follower.fresh() == []
    write(tmp_path, events)
    assert follower.fresh() == [events[4]]


def test_what_killed_commands_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    """A file of a command whose jobs may still go on stays for weeks."""
    old, recent = tmp_path / "grid-0.alive", tmp_path / "grid-1.alive"
    for path in (old, recent):
        path.touch()
    os.utime(old, (0, 0))
    with lifeline(tmp_path) as own:
        assert set(tmp_path.iterdir()) == {recent, own}
    assert set(tmp_path.iterdir()) == {recent}


def test_time_left_counts_what_is_made_at_once(
    plan: Plan, events: list[Event], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four runs, two at once: after a minute one is made, one is half made and one was there before; the rest, one
    and a half, takes another."""
    clock = [0.0]
    monkeypatch.setattr(harness.execution.progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    board, runs = Board(plan), plan.runs
    board.skip(runs[0])
    board.start([runs[1]])
    board.start([runs[2]])
    clock[0] = 60.0
    for spec, event in ((runs[1], events[2]), (runs[2], events[2]), (runs[1], events[3]), (runs[1], events[4])):
        board.event(spec, event)
    board.close()
    assert capsys.readouterr().out.splitlines()[-1] == (
        "[2/4] plain seed 1: test 0.7500 75.00%  5.0 s  2 of 4 done, 1 running, left about 01:00"
    )
