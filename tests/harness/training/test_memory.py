"""What a batch takes is counted to the byte where that is easy, and the batch that is said to fit does fit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.data.load import Dataset
from harness.plans.spec import Recipe
from harness.training.evaluate import Normaliser
from harness.training.memory import batch_that_fits, kept_by_autograd

ROOT = Path(__file__).parents[3]
STARVED = """
import json, resource, sys
import numpy as np, psutil
from harness.data.load import Dataset, Split
from harness.training.memory import batch_that_fits
from harness.training.device import detect
from harness.training.build import build, device_data, new_state
from harness.plans.plan import resolve
from harness.plans.spec import RunSpec
from harness.training.loop import take_step
from experiments.norm_comparison import EXPERIMENT

images = np.zeros((4096, 32, 32, 3), np.uint8)
split = Split(images, np.zeros(4096, np.int64))
classes = tuple("0123456789")
data = Dataset("zeros", "zeros", classes, split, None, split, "0", (0.5,) * 3, (0.5,) * 3)


def fails(batch):
    changes = {"batch_size": batch, "device": "cpu", "threads": 1, "precision": "fp32", "step": "eager"}
    recipe = resolve(EXPERIMENT.base, detect("cpu")).model_copy(update=changes)
    on_device = device_data(data, "cpu")
    parts = build(RunSpec(experiment="e", variant="v", seed=0, recipe=recipe), on_device, 0)
    state = new_state(parts.model, recipe, 0.01, 4096)
    inputs = parts.normaliser(on_device.train.images[:batch])
    try:
        take_step(state, inputs, on_device.train.labels[:batch], recipe, parts.normaliser.autocast)
    except RuntimeError as error:
        return batch_that_fits(recipe, data), str(error).splitlines()[0]
    return None


fails(8)
resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 400 * 2**20, -1))
fits, said = fails(4096)
print(json.dumps([fits, said, fails(fits)]))
"""


def _normaliser() -> Normaliser:
    return Normaliser.make((0.5,) * 3, (0.5,) * 3, "cpu", "contiguous", "fp32")


def test_what_autograd_keeps_is_counted_to_the_byte() -> None:
    """Of a linear network in fp32: its input, the log-probabilities and the labels, image by image."""
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), torch.zeros(6, 2, 2, 3, dtype=torch.uint8)
    few, more = (kept_by_autograd(model, _normaliser(), images[:n], torch.zeros(n, dtype=torch.int64)) for n in (2, 6))
    assert more - few == 4 * (12 * 4 + 5 * 4 + 8)


def test_the_batch_that_fits_follows_the_room(recipe: Recipe, dataset: Dataset) -> None:
    """In powers of two, never what was asked for, and nothing where there is no room for an image."""

    def fits(megabytes: int, at_once: int = 1) -> int:
        return batch_that_fits(recipe, dataset, at_once, lambda _: megabytes * 2**20)

    assert fits(0) == 0
    assert 1 <= fits(1) <= fits(2) <= 2 * fits(1)
    assert fits(1000) == 8  # below the recipe's 16
    assert fits(3, at_once=3) == fits(1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_a_starved_process_says_what_then_fits() -> None:
    """Memory really runs out; a step with the batch size that is named does not run out of it."""
    done = subprocess.run([sys.executable, "-c", STARVED], cwd=ROOT, check=True, capture_output=True, text=True)
    fits, said, again = json.loads(done.stdout)
    assert "you tried to allocate" in said
    assert 16 <= fits <= 2048
    assert again is None
