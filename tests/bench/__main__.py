"""`make bench`: training steps per second, ours against the notebook's and against the bare step. CPU.

The three loops take turns in one process (A B C A B C …), so that a machine whose speed drifts slows all of them; the
figures are medians and ranges of images a second, and of the ratios round by round. Written to reports/out/bench/ as
JSON and Markdown. Random images: what is timed does not depend on what they show.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset

import models
from experiments.norm_comparison import EXPERIMENT as NORM_COMPARISON
from experiments.resnet_onecycle import EXPERIMENT as RESNET_ONECYCLE
from harness import overrides
from harness.augment import source as build_source
from harness.evaluate import Normaliser
from harness.facts import Scores
from harness.machine import detect
from harness.optim import build_optimizer, build_scheduler
from harness.plan import resolve
from harness.spec import Recipe
from harness.store import connect
from harness.train import State, train

ROOT = Path(__file__).resolve().parents[2]
BATCH, LR = 512, 0.01
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def ours(recipe: Recipe, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Callable[[], None]:
    """One epoch over `images` through the product's own loop, without the evaluation at its end."""
    pixels, targets = torch.from_numpy(images), torch.from_numpy(labels)
    source = build_source(recipe.augmentation, recipe.augment_backend, pixels, MEAN, 0)
    normaliser = Normaliser.make(MEAN, STD, "cpu", recipe.memory_format, recipe.precision)
    steps = len(images) // BATCH

    def epoch() -> None:
        model = _model(recipe, channels_last=True)
        optimizer = build_optimizer(model, recipe, LR)
        state = State(model, optimizer, build_scheduler(optimizer, recipe.schedule, LR, steps, recipe.epochs), model)
        for _ in train(state, source, targets, recipe, 0, normaliser, lambda: (None, Scores(loss=0, accuracy=0))):
            pass

    return epoch


def bare(recipe: Recipe, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Callable[[], None]:
    """The same arithmetic with nothing around it: one batch, already normalised, again and again."""
    inputs = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    targets = torch.from_numpy(labels[:BATCH])

    def epoch() -> None:
        model = _model(recipe, channels_last=True)
        optimizer = build_optimizer(model, recipe, LR)
        for _ in range(len(images) // BATCH):
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
                logits = model(inputs)
            nn.functional.cross_entropy(logits.float(), targets).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return epoch


class _Images(Dataset[tuple[torch.Tensor, int]]):
    """The seeds' data set class: one image at a time through albumentations."""

    def __init__(self, recipe: Recipe, images: NDArray[np.uint8], labels: NDArray[np.int64]):
        fill = tuple(round(255 * value) for value in MEAN)
        crop = [
            A.Pad(padding=4),
            A.RandomCrop(32, 32),
            A.HorizontalFlip(p=0.5),
            A.CoarseDropout(
                num_holes_range=(1, 1), hole_height_range=(8, 8), hole_width_range=(8, 8), fill=fill, p=1.0
            ),
        ]
        self.transform = A.Compose([*(crop if recipe.augmentation else []), A.Normalize(MEAN, STD)])
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.transform(image=self.images[index])["image"]
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), int(self.labels[index])


def notebook(recipe: Recipe, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Callable[[], None]:
    """The habit of the seed documents: DataLoader workers, fp32 NCHW, `.item()` and a tracker call every step."""
    loader = DataLoader(_Images(recipe, images, labels), BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    client = connect(Path(tempfile.mkdtemp(prefix="bench-"))).client
    run_id = client.create_run("0").info.run_id
    seen = iter(range(10**9))

    def epoch() -> None:
        model = _model(recipe, channels_last=False)
        optimizer = torch.optim.Adam(model.parameters(), lr=LR)
        for inputs, targets in loader:
            optimizer.zero_grad()
            logits = model(inputs)
            loss = nn.functional.cross_entropy(logits, targets)
            loss.backward()
            optimizer.step()
            accuracy = (logits.argmax(1) == targets).float().mean().item()
            step = next(seen)
            client.log_metric(run_id, "loss", loss.item(), step=step)
            client.log_metric(run_id, "accuracy", accuracy, step=step)

    return epoch


def compare(recipe: Recipe, steps: int, rounds: int) -> dict[str, Any]:
    """Images a second of each loop, round by round, after a warm-up of each."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (steps * BATCH, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, steps * BATCH)
    loops = {name: make(recipe, images, labels) for name, make in LOOPS.items()}
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for round_number in range(rounds + 1):
        for name, epoch in loops.items():
            clock = time.perf_counter()
            epoch()
            speed = len(images) / (time.perf_counter() - clock)
            if round_number:  # the first one warms up
                speeds[name].append(speed)
            print(f"{recipe.model.name} round {round_number}/{rounds} {name}: {speed:.0f} images/s", flush=True)
    return speeds


LOOPS = {"ours": ours, "notebook": notebook, "bare": bare}


def _model(recipe: Recipe, channels_last: bool) -> nn.Module:
    torch.manual_seed(0)
    model = models.build(recipe.model.name, **recipe.model.options)
    return model.to(memory_format=torch.channels_last) if channels_last else model  # pyright: ignore[reportCallIssue]


def _row(name: str, speeds: dict[str, list[float]]) -> list[str]:
    against = [a / b for a, b in zip(speeds["ours"], speeds["notebook"], strict=True)]
    overhead = [b / a for a, b in zip(speeds["ours"], speeds["bare"], strict=True)]
    return [name, *(_spread(speeds[loop], 0) for loop in LOOPS), _spread(against, 2), _spread(overhead, 3)]


def _spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    """Time both models and write the table."""
    machine = detect("cpu")
    torch.set_num_threads(machine.threads)
    measured = {}
    for experiment, steps in ((RESNET_ONECYCLE, 4), (NORM_COMPARISON, 12)):
        base = overrides.apply(experiment.base, {"optimizer.lr": LR, "epochs": 1})
        recipe = resolve(base, machine)
        measured[recipe.model.name] = compare(recipe, steps, rounds=5)
    columns = ["model", *(f"{loop}, images/s" for loop in LOOPS), "ours / notebook", "time over the bare step"]
    rows = [_row(name, speeds) for name, speeds in measured.items()]
    where = f"{date.today()}, {machine.threads} cores, {'bf16' if machine.bf16 else 'fp32'}, torch {torch.__version__}"
    lines = [f"`make bench`, {where}, batch {BATCH}; median (range) of 5 interleaved rounds.", ""]
    lines += ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows)]
    folder = ROOT / "reports" / "out" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.md").write_text("\n".join(lines) + "\n")
    record = {"where": where, "processor": platform.processor(), "batch": BATCH, "images_per_second": measured}
    (folder / "bench.json").write_text(json.dumps(record, indent=2))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
