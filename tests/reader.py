"""A reader of the documents: a copy of the project, what its commands ask for, and a shell that types them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from harness.environment.files import write_whole

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 1800
"""The longest that a command may take on a busy machine."""
_OF_THE_TESTS = ("MAKE", "MFLAGS", "PYTEST", "MLFLOW_TRACKING", "PYTHONPATH")
_NETS = """from torch import nn


def make(in_channels: int = 3, image_size: int = 32, classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, classes))
"""
_THEIRS = """import mlflow

mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("theirs")
for norm, base in (("bn", 0.76), ("gn", 0.74)):
    for seed in range(6):
        with mlflow.start_run():
            mlflow.log_params({"norm": norm, "seed": seed})
            mlflow.log_metric("test_acc", base + seed / 1000)
"""


class Reader:
    """Types commands in a project's folder, each in a process group of its own that is ended with it."""

    def __init__(self, folder: Path):
        self.here = folder
        kept = {n: v for n, v in os.environ.items() if not n.startswith(_OF_THE_TESTS)}
        self.environment = kept | {"OMP_WAIT_POLICY": "PASSIVE"}  # threads that wait leave the cores to other tests

    def types(self, command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command to its end, by bash; what it left in the background is ended too."""
        with tempfile.TemporaryFile("w+") as said:
            process = self._start(self.filled(command), folder or self.here, said)
            try:
                process.wait(timeout=SECONDS)
            finally:
                _end(process)
            said.seek(0)
            return subprocess.CompletedProcess(command, process.returncode, said.read())

    def serves(self, command: str, port: int) -> int:
        """The exit status, after Ctrl-C, of a command that serves on this port until then."""
        process = self._start(self.filled(command, port), self.here, None)
        try:
            until = time.monotonic() + SECONDS
            while not _is_well(port):
                assert process.poll() is None, f"{command} ended with {process.returncode}"
                assert time.monotonic() < until, "the server does not answer"
                time.sleep(0.5)
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=60)
        finally:
            _end(process)
        return process.returncode

    def filled(self, command: str, port: int = 0) -> str:
        """With values in the place of placeholders."""
        keys = sorted(path.parent.name for path in self.here.glob("runs/quickstart/*/journal.jsonl"))
        key, some = next(iter(keys), ""), " ".join(keys[-2:])
        return command.format(here=self.here, port=port or free_port(), key=key, keys=some)

    def _start(self, command: str, folder: Path, said: IO[str] | None) -> "subprocess.Popen[bytes]":
        """Its output goes to the file `said`, or to that of the tests."""
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=self.environment,
            stdout=said,
            stderr=subprocess.STDOUT if said else None,
            start_new_session=True,
        )


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _is_well(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def project(folder: Path, readme: str) -> Reader:
    """A copy of the project with this environment, in which everything lies that the documents' commands name."""
    here = folder / "project"
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, here / name)
    environment = here / ".venv"
    environment.mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.suffix != ".stamp":
            (environment / path.name).symlink_to(path)
    for requirements in here.glob("requirements*.txt"):
        (environment / f"{requirements.stem}.stamp").touch()
    (here / "data").mkdir()
    _write_images(here)
    _write_programs(here, readme)
    return Reader(here)


def _write_programs(here: Path, readme: str) -> None:
    """The experiment, the model and the metric of the README, a network in a package, and results from elsewhere."""
    blocks: Sequence[str] = re.findall(r"^```python\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    (experiment,) = (block for block in blocks if "EXPERIMENT = " in block)
    (model,) = (block for block in blocks if "from models import register" in block)
    (metric,) = (block for block in blocks if "from harness.evidence.metrics import register" in block)
    written = {
        "experiments/nesterov.py": experiment,
        "models/wide_cnn.py": model,
        "harness/evidence/metrics/mine.py": metric,
        "my_package/__init__.py": "",
        "my_package/nets.py": _NETS,
        "theirs.py": _THEIRS,
        "results.csv": "variant,seed,test_acc\n" + "".join(f"{v},{s},0.7{v}{s}\n" for v in (1, 2) for s in range(6)),
    }
    for name, text in written.items():
        (here / name).parent.mkdir(exist_ok=True)
        write_whole(here / name, text.encode())


def _write_images(here: Path) -> None:
    """Two classes of noise, dark and bright, more than a batch of 512: PNG and JPEG files, a table, files of arrays."""
    random = np.random.default_rng(0)

    def image(bright: bool) -> Image.Image:
        return Image.fromarray(random.integers(100 * bright, 100 * bright + 155, (32, 32, 3), dtype=np.uint8))

    rows = ["path,label,split"]
    for root, ending in (("data/cifar10-png", "png"), ("path/to/images", "jpg")):
        for part, each in (("train", 300), ("test", 8)):
            for bright, name in enumerate(("dark", "bright")):
                (here / root / part / name).mkdir(parents=True)
                for n in range(each):
                    path = here / root / part / name / f"{n}.{ending}"
                    image(bool(bright)).save(path)
                    if root == "path/to/images":
                        rows.append(f"images/{part}/{name}/{n}.{ending},{name},{part}")
    (here / "path" / "to" / "table.csv").write_text("\n".join(rows) + "\n")
    for name, shape in (("images", (32, 32, 3)), ("grey", (28, 28))):
        labels = np.arange(536) % 2
        pixels = random.integers(0, 255, (536, *shape), dtype=np.uint8)
        kept = {"x_train": pixels[16:], "y_train": labels[16:], "x_test": pixels[:16], "y_test": labels[:16]}
        np.savez(here / "path" / "to" / f"{name}.npz", **kept)
    (here / "photos").mkdir()
    for n in range(3):
        image(True).save(here / "photos" / f"{n}.png")
