"""`resnet_onecycle` on CUDA as a user runs it: upload, range test, 24 epochs, an evaluation each, MLflow, artifacts."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness.records import journal
from harness.records.events import Finished, Started
from harness.values import HarnessError
from tests.bench.start_up import copy_project

_PER_MULTIPLY_ADD = 2 * 3  # operations: a product and a sum, forward once and backward twice


@dataclass(frozen=True)
class Command:
    """One call, in seconds."""

    wall: float
    train: float
    evaluate: float
    tflops: float
    """While it trained, from the network's multiply-adds."""


def measure(root: Path, scratch: Path, data: str) -> tuple[Command, Command]:
    """The command twice, each time in a project of its own: with empty compile caches, and with those that it left.

    Raises:
        HarnessError: the command failed; it said why.
    """
    if data.startswith("folder:"):
        data = f"folder:{(root / data.removeprefix('folder:')).resolve()}"
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"), "TRITON_CACHE_DIR": str(scratch / "triton")}
    return _call(root, scratch / "cold", data, caches), _call(root, scratch / "warm", data, caches)


def _call(root: Path, folder: Path, data: str, caches: dict[str, str]) -> Command:
    project = copy_project(root, folder)
    (root / "data").mkdir(exist_ok=True)
    (project / "data").symlink_to((root / "data").resolve())
    command = [sys.executable, "-m", "harness", "run", "--seeds=1", "--variants=plain", f"--data={data}"]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    clock = time.perf_counter()
    done = subprocess.run([*command, "--", "resnet_onecycle"], cwd=project, env=environment | caches, check=False)
    if done.returncode:
        raise HarnessError(f"the public command ended with status {done.returncode}: see above, and give DATA=")
    wall = time.perf_counter() - clock
    (kept,) = (project / "runs" / "resnet_onecycle").glob("*/journal.jsonl")
    events = journal.read(kept.parent)
    started = next(event for event in events if isinstance(event, Started))
    finished = next(event for event in events if isinstance(event, Finished))
    images = started.data.train_images * started.spec.recipe.epochs
    operations = images * started.model.multiply_adds * _PER_MULTIPLY_ADD
    return Command(wall, finished.train_seconds, finished.evaluate_seconds, operations / finished.train_seconds / 1e12)
