"""The real program under a real signal: it stops with its work saved, and the same command takes it up."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import harness.__main__ as command_line
from harness.records import journal

PROJECT = Path(__file__).resolve().parents[3]
EXPERIMENT = """
from harness import SGD, Circumstances, Data, Experiment, Model, Recipe

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
    circumstances=Circumstances(device="cpu", threads=1, memory_format="channels_last", step="eager"),
)
"""


SLOW_WORKERS = """
        augmentation=(Transform(name="ElasticTransform", p=1.0),) * 4,
        batch_size=500,
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The code in a folder of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for folder in ("harness", "models"):
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text(EXPERIMENT)
    return tmp_path


def start(project: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "run", "tiny", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=project, text=True, start_new_session=True, **pipes)


def after_an_epoch(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return next(line for line in running.stdout if "epoch  1/6" in line)


def test_sigterm_is_survived_by_the_real_program(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real digits, checkpoint, journal and MLflow: 143 within 10 seconds; the same command goes on from epoch 2 and
    ends with 0; once more, the run is not made again.
    """
    first = start(project)
    assert after_an_epoch(first).startswith("[1/1] plain seed 0  epoch  1/6  train ")
    first.send_signal(signal.SIGTERM)
    clock = time.monotonic()
    _, stderr = first.communicate(timeout=60)
    assert time.monotonic() - clock < 10
    assert first.returncode == 143
    assert stderr.endswith(
        "stopping at the next step; once more ends it at once\nstopped; the same command goes on from here\n"
    )
    (folder,) = {checkpoint.parent for checkpoint in (project / "runs").rglob("*.ckpt")}
    second = start(project)
    stdout, stderr = second.communicate(timeout=300)
    assert (second.returncode, stderr) == (0, "")
    assert "epoch  6/6" in stdout
    assert "epoch  1/6" not in stdout
    events = journal.read(folder)
    assert [event.kind for event in events] == ["started", *["epoch"] * 6, "finished"]
    assert not list(folder.glob("*.ckpt"))
    assert (folder / "artifacts" / "figures" / "curves.png").exists()
    monkeypatch.setattr(command_line, "ROOT", project)
    assert command_line.main(["run", "tiny"]) == 0
    assert capsys.readouterr().out == "[1/1] plain seed 0: already made\n"
    assert journal.read(folder) == events


def test_ctrl_c_reaches_workers_too_and_ends_in_a_checkpoint(project: Path) -> None:
    """A terminal sends it to every process of the group, most likely while the program waits for a worker's batch: 130,
    and the run is not taken for a failed one."""
    file = project / "experiments" / "tiny.py"
    text = file.read_text().replace("batch_size=64,", SLOW_WORKERS.strip()).replace("Recipe\n", "Recipe, Transform\n")
    file.write_text(text)
    running = start(project, "--workers=1")
    after_an_epoch(running)
    time.sleep(0.3)  # the second epoch has begun
    os.killpg(running.pid, signal.SIGINT)
    stdout, stderr = running.communicate(timeout=60)
    assert (running.returncode, "failed" in stdout) == (130, False)
    assert stderr.endswith("once more ends it at once\nstopped; the same command goes on from here\n")
    (folder,) = {checkpoint.parent for checkpoint in (project / "runs").rglob("*.ckpt")}
    assert {event.kind for event in journal.read(folder)} == {"started", "epoch"}
