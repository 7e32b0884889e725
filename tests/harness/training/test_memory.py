"""What a batch takes is counted to the byte where that is easy, and the batch that is said to fit does fit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.augmentation.normaliser import Normaliser
from harness.data.load import Dataset
from harness.plans.spec import Circumstances, Recipe
from harness.training.memory import batch_that_fits, kept_by_autograd

ROOT = Path(__file__).parents[3]
STARVED = """
import json, resource
import numpy as np, psutil, torch
from harness.data.load import Dataset, Split
from harness.plans.hyperparameters import SGD
from harness.plans.spec import Circumstances, Data, Model, Recipe
from harness.training.build import build_learner, build_model, build_normaliser, new_state
from harness.training.memory import batch_that_fits

images = np.zeros((2048, 32, 32, 3), np.uint8)
split = Split(images, np.zeros(2048, np.int64))
data = Dataset("zeros", "zeros", tuple("0123456789"), split, None, split, "0", (0.5,) * 3, (0.5,) * 3)
around = Circumstances(device="cpu", threads=1, memory_format="channels_last", step="eager")
model, optimizer = Model(name="norm_cnn"), SGD(lr=0.01)


def fails(batch):
    recipe = Recipe(
        data=Data(name="folder:zeros"), model=model, optimizer=optimizer, epochs=1, batch_size=batch, precision="fp32"
    )
    state = new_state(build_model(recipe, around, data, 0)[1], recipe, around, 0.01, 2048)
    normaliser = build_normaliser(recipe, around, data)
    inputs, labels = normaliser(torch.from_numpy(images[:batch])), torch.zeros(1, batch, dtype=torch.int64)
    try:
        build_learner([state], recipe, around, normaliser.autocast).step(inputs[None], labels)
    except RuntimeError as error:
        return batch_that_fits(recipe, around, data), str(error).splitlines()[0]
    return None


fails(8)
resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 200 * 2**20, -1))
fits, said = fails(2048)
print(json.dumps([fits, said, fails(fits)]))
"""


def _normaliser() -> Normaliser:
    return Normaliser.make((0.5,) * 3, (0.5,) * 3, "cpu", "contiguous", "fp32")


def test_what_autograd_keeps_is_counted_to_the_byte() -> None:
    """Of a linear network in fp32: its input, the log-probabilities and the labels, image by image."""
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), torch.zeros(6, 2, 2, 3, dtype=torch.uint8)
    few, more = (kept_by_autograd(model, _normaliser(), images[:n], torch.zeros(n, dtype=torch.int64)) for n in (2, 6))
    assert more - few == 4 * (12 * 4 + 5 * 4 + 8)


def test_the_batch_that_fits_follows_the_room(recipe: Recipe, circumstances: Circumstances, dataset: Dataset) -> None:
    """In powers of two, never what was asked for, and nothing where there is no room for an image."""

    def fits(megabytes: int, at_once: int = 1) -> int:
        return batch_that_fits(recipe, circumstances, dataset, at_once, lambda _: megabytes * 2**20)

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
    assert 16 <= fits <= 1024
    assert again is None
