"""One real run in a process of its own, through `execute`: what tracking takes of it, and its peak memory.

`python -m tests.bench.whole_run EXPERIMENT DEVICE BATCH TRAIN_IMAGES EPOCHS` prints a `WholeRun` as JSON. A tiny
run goes before: when the baseline is read, packages, oneDNN's code and fonts are there, what the run needs is not.
"""

import ctypes
import gc
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

import numpy as np
import torch

from harness.augmentation.normaliser import Normaliser
from harness.data.load import Dataset, Split
from harness.execution.execute import execute
from harness.execution.run import run_folder
from harness.plans import catalog
from harness.plans.plan import Plan, plan
from harness.records import journal
from harness.records.events import EpochDone
from harness.tracking.delivery import Delivered
from harness.tracking.sync import Courier
from harness.tracking.tracker import Tracker
from harness.training.device import detect, peak_memory_bytes
from harness.training.memory import kept_by_autograd
from tests.bench.work import LR, MEAN, STD, Work

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class WholeRun:
    """What one run took, in seconds and bytes."""

    deliveries: list[float]
    """After each event: the start, every epoch, the end with its artifacts."""
    epochs: list[float]
    """Each epoch's training and evaluation."""
    peak: int
    """On CUDA what the allocator held, else the resident size beyond the process's before the run."""
    data: int
    """Every split's images and labels."""
    model: int
    """Weights, buffers, gradients and the optimiser's state."""
    activations: int
    """What autograd keeps of one training batch's forward pass, the batch itself among it."""

    def tracking_share(self, epochs: int) -> float:
        """Of a run of that many epochs: its deliveries' part of all its seconds, from the medians of those measured."""
        first, *middle, last = self.deliveries
        tracking = first + last + epochs * float(np.median(middle))
        return tracking / (tracking + epochs * float(np.median(self.epochs)))

    @property
    def memory_ratio(self) -> float:
        return self.peak / (self.data + self.model + self.activations)


def measure(experiment: str, device: str, *sizes: int) -> WholeRun:
    """In a new process; sizes: images a batch, training images, epochs."""
    command = [sys.executable, "-m", "tests.bench.whole_run", experiment, device, *map(str, sizes)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return WholeRun(**json.loads(done.stdout.splitlines()[-1]))


class _Timed(Courier):
    """A courier that notes how long each delivery of something new took."""

    seconds: ClassVar[list[float]] = []

    def _deliver(self, folder: Path) -> Delivered | None:
        clock = time.perf_counter()
        delivered = super()._deliver(folder)
        if delivered:
            self.seconds.append(time.perf_counter() - clock)
        return delivered


def _dataset(folder: Path, train: int) -> Dataset:
    """Noise, mapped from files as the product's cache is; a fifth as many test images."""
    folder.mkdir()
    random = np.random.default_rng(0)
    splits = []
    for name, count in (("train", train), ("test", train // 5)):
        np.save(folder / f"{name}.npy", random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))
        splits.append(Split(np.load(folder / f"{name}.npy", mmap_mode="r"), random.integers(0, 10, count)))
    classes = tuple(str(number) for number in range(10))
    return Dataset("noise", "noise", classes, splits[0], None, splits[1], "0", MEAN, STD)


def _run(planned: Plan, dataset: Dataset, folder: Path) -> list[float]:
    """Seconds of each delivery; every event goes out on its own, without the pauses that a real run makes."""
    datasets = dict.fromkeys([planned.runs[0].recipe.data], dataset)
    _Timed.seconds.clear()
    with patch("harness.execution.execute.Courier", _Timed), patch("harness.tracking.sync._SHARE", 0):
        outcome = execute(planned, datasets, Tracker(folder, f"sqlite:///{folder}/mlflow.db"), folder, workers=0)
    assert not outcome.failed
    return _Timed.seconds.copy()


def _resident() -> int:
    """Bytes that this process holds, without what was freed but not given back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def needed(work: Work) -> tuple[int, int]:
    """Bytes of (what autograd keeps of a batch, model with gradients and optimiser state)."""
    device = work.device
    normaliser = Normaliser.make(MEAN, STD, device, work.circumstances.memory_format, work.recipe.precision)
    model = work.model(normaliser.memory_format)
    images, labels = torch.from_numpy(work.images).to(device), torch.from_numpy(work.labels).to(device)
    kept = kept_by_autograd(model, normaliser, images, labels)
    optimizer = work.default_optimizer(model)
    optimizer.step()
    state = [value for entry in optimizer.state.values() for value in entry.values() if torch.is_tensor(value)]
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters() if p.grad is not None), *state]
    return kept, sum(tensor.nbytes for tensor in tensors)


def main(experiment: str, device: str, batch: int, images: int, epochs: int) -> WholeRun:
    """A tiny run, then the one that is measured, then what it would need at least."""
    asked = catalog.load(experiment, ROOT)
    changes = {"optimizer.lr": LR, "lr_finder": None, "device": device, "step": "eager"}

    def planned(**further: int) -> Plan:
        return plan(asked, detect(device), seeds=1, variants=[asked.baseline], changes=changes | further)

    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        scratch = Path(name)
        _run(planned(epochs=1, batch_size=16), _dataset(scratch / "tiny", 32), scratch / "tiny")
        dataset = _dataset(scratch / "real", images)
        before = 0 if device.startswith("cuda") else _resident()
        real = planned(epochs=epochs, batch_size=batch)
        deliveries = _run(real, dataset, scratch / "real")
        peak = peak_memory_bytes(device) - before
        events = journal.read(run_folder(scratch / "real", real.runs[0]))
        recipe = real.runs[0].recipe
        activations, model = needed(Work.of_noise(recipe, real.circumstances, 1, scratch))
    done = [event.train_seconds + event.evaluate_seconds for event in events if isinstance(event, EpochDone)]
    data = (images + images // 5) * (32 * 32 * 3 + 8)
    return WholeRun(deliveries, done, peak, data, model, activations)


if __name__ == "__main__":
    experiment, device, *sizes = sys.argv[1:]
    print(json.dumps(asdict(main(experiment, device, *map(int, sizes)))))
