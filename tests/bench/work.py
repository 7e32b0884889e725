"""What every loop is given, what it gives back, and how loops take turns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import models
from harness.plans.hyperparameters import SGD, Adam, AdamW
from harness.plans.plan import steps_per_epoch
from harness.plans.spec import Circumstances, Recipe
from models.layers import Dropout

LR = 0.01
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
WORKERS = 2


@dataclass(frozen=True)
class Work:
    """A recipe, the circumstances, settled for one device, and the images that every loop trains it on."""

    recipe: Recipe
    circumstances: Circumstances
    images: NDArray[np.uint8]
    """(N, H, W, 3)"""
    labels: NDArray[np.int64]
    """(N,)"""
    scratch: Path
    """An empty folder for what trackers and loggers write."""
    workers: int = WORKERS
    """Processes of the DataLoaders."""

    @classmethod
    def of_noise(cls, recipe: Recipe, circumstances: Circumstances, steps: int, scratch: Path) -> "Work":
        """An epoch of that many whole batches. Noise: what is timed does not depend on what images show."""
        random, count = np.random.default_rng(0), steps * recipe.batch_size
        images = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        return cls(recipe, circumstances, images, random.integers(0, 10, count), scratch)

    @property
    def device(self) -> str:
        return self.circumstances.device

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return steps_per_epoch(len(self.labels), self.recipe.batch_size)

    def with_step(self, step: str) -> "Work":
        """The same with this form of the training step."""
        return replace(self, circumstances=self.circumstances.model_copy(update={"step": step}))

    def model(self, memory_format: torch.memory_format = torch.contiguous_format) -> nn.Module:
        """The same initial weights for every loop."""
        torch.manual_seed(0)
        model = models.build(self.recipe.model.name, **self.recipe.model.options).to(self.device)
        return model.to(memory_format=memory_format)  # pyright: ignore[reportCallIssue] torch's stub lacks it

    def torchs_model(self) -> nn.Module:
        """The network with the same weights as people write it: with torch's own Dropout, and no ReLU in place."""
        model = self.model()
        for parent in list(model.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, Dropout):
                    setattr(parent, name, nn.Dropout(layer.p))
                elif isinstance(layer, nn.ReLU):
                    layer.inplace = False
        return model

    def default_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The recipe's optimiser as most people write it: torch's defaults, so not fused."""
        values = self.recipe.optimizer
        match values:
            case SGD():
                return torch.optim.SGD(model.parameters(), lr=LR, momentum=values.momentum)
            case Adam() | AdamW():
                kind = torch.optim.AdamW if isinstance(values, AdamW) else torch.optim.Adam
                return kind(model.parameters(), lr=LR, betas=values.betas, weight_decay=values.weight_decay)

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)


class Trained(NamedTuple):
    """What a loop did in the recipe's epochs: seconds from the first batch to the end, and each epoch's mean loss."""

    seconds: float
    losses: list[float]


Loop = Callable[[], Trained]
"""Trains a new network for the recipe's epochs; setting up is not timed."""


def interleave(loops: Mapping[str, Loop], images: int, rounds: int, title: str) -> dict[str, list[float]]:
    """Images a second of each loop, round by round, after a round that warms up.

    The loops take turns (A B C A B C …), so that a machine whose speed drifts slows all of them.
    """
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        for name, loop in loops.items():
            speed = images / loop().seconds
            if number:
                speeds[name].append(speed)
            print(f"{title} round {number}/{rounds} {name}: {speed:,.0f} images/s", flush=True)
    return speeds


def each(values: Mapping[str, list[float]], above: str, below: str) -> tuple[float, ...]:
    """One loop's speed over another's, round by round: what both met in a round cancels out."""
    return tuple(a / b for a, b in zip(values[above], values[below], strict=True))
