"""Slurm's jobs through submitit, as processes of this machine: the same runs; what is cut off is handed in again."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.execution.engines.slurm import Slurm, minutes
from harness.execution.engines.where import Where, on_slurm, start
from harness.execution.execute import Outcome
from harness.execution.stopping import Stop
from harness.plans.spec import Circumstances
from harness.values import HarnessError, SpecError
from tests.harness.execution.engines.conftest import Numbers, numbers

AROUND = Circumstances(device="cpu", threads=1, memory_format="channels_last", step="eager", jobs="slurm")


def test_runs_through_submitit_are_the_same_runs(
    make_grid: Callable[..., Outcome], calm: Numbers, tmp_path: Path
) -> None:
    """Two runs a job, as processes of this machine."""
    assert make_grid(on_slurm("local runs=2"), jobs="slurm") == Outcome()
    assert numbers(tmp_path) == calm


@pytest.mark.parametrize(
    ("text", "found"),
    [("90", 90), ("2:30", 3), ("2:30:00", 150), ("0:00:01", 1), ("1-12", 2160), ("1-12:30", 2190), ("1-0:0:1", 1441)],
)
def test_times_are_read_as_sbatch_reads_them(text: str, found: int) -> None:
    """Seconds count as a minute begun."""
    assert minutes(text) == found


@pytest.mark.parametrize("text", ["", "0", "soon", "1:2:3:4", "-5", "1-", "٣"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"^SLURM's time must be minutes, or as in 2:30:00 or 1-12; got '"):
        minutes(text)


def test_options_are_sbatchs_own() -> None:
    """`runs` is ours: how many one job makes."""
    where = on_slurm("partition=gpu time=1:00:00 runs=5")
    assert (where.slurm, where.runs) == ({"partition": "gpu", "time": "1:00:00"}, 5)


def test_a_machine_without_slurm_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is submitted."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HarnessError, match=r"^SLURM needs sbatch, which this machine lacks: run this on a cluster"):
        start(on_slurm("partition=gpu"), AROUND, tmp_path)


def test_what_sbatch_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words, such as a partition that does not exist."""
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpuu' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    engine = Slurm(Where("slurm", slurm={"partition": "gpuu"}), AROUND, tmp_path)
    engine.submit(len, "work")  # pyright: ignore[reportArgumentType] it is never called
    with pytest.raises(
        HarnessError,
        match=r"^SLURM: sbatch: error: invalid partition specified: gpuu; correct SLURM and run it again$",
    ):
        engine.poll(0)


def test_a_stopped_job_begins_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's warning before the time is over comes as SIGUSR2: what is under way ends, what follows is left."""
    from harness.execution.engines import slurm

    def make(payload: str) -> str:
        own = Stop(quiet=True)
        with own.listening(signal.SIGUSR2):
            if payload == "b":
                signal.raise_signal(signal.SIGUSR2)
            return f"{payload} {own()}"

    assert threading.current_thread() is threading.main_thread()
    assert slurm._several(make, ["a", "b", "c"]) == ["a False", "b True"]
