"""What a command finds: runs that are made already, whole or not, and whether new ones could be compared with them."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.artifacts import write
from harness.environment import code_at_start
from harness.execution.execute import Outcome
from harness.execution.outset import Outset
from harness.execution.run import run_folder
from harness.plans.plan import Plan
from harness.plans.spec import Model
from harness.records import journal
from harness.values import SpecError
from tests.harness.execution.conftest import changed, ends


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
    """One seed made in one memory format, two to be made in another: said before the first step, unless allowed."""
    assert go(plan=replace(plan, runs=plan.runs[:1])) == Outcome()
    other = replace(plan, circumstances=plan.circumstances.model_copy(update={"memory_format": "contiguous"}))
    with pytest.raises(SpecError) as refused:
        go(plan=other)
    assert str(refused.value) == (
        "1 runs of tiny_trial are made already, and a report would refuse to compare them with new ones (circumstances."
        "memory_format channels_last → contiguous): undo that change, remove runs/tiny_trial to make all runs again, "
        'or allow the difference with ALLOW="circumstances.memory_format"'
    )
    assert ends(tmp_path, plan) == ["finished", "nothing", "nothing"]
    assert go(plan=other, allowed=("circumstances",)) == Outcome()


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
