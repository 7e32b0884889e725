"""The loop of the seed documents and of most tutorials: every habit that costs time, none of them a straw man.

A DataLoader with workers, albumentations image by image, fp32 NCHW, torch's own layers, `.item()` and a call of the
tracker every step. It runs in our process, so what our allocator's settings save our loop they save this one too.
"""

import time
from typing import Any

import albumentations as A
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from harness.tracking.store import connect
from harness.training.optimizers import build_scheduler
from tests.bench.work import LR, MEAN, STD, Loop, Trained, Work


def transform(augmented: bool) -> Any:
    """Seed 003's policy with cutout, or none, and then the normalisation: image (H, W, C) uint8 → float32."""
    fill = tuple(round(255 * value) for value in MEAN)
    policy = [
        A.Pad(padding=4),
        A.RandomCrop(32, 32),
        A.HorizontalFlip(p=0.5),
        A.CoarseDropout(num_holes_range=(1, 1), hole_height_range=(8, 8), hole_width_range=(8, 8), fill=fill, p=1.0),
    ]
    return A.Compose([*(policy if augmented else []), A.Normalize(MEAN, STD)])


class _Images(Dataset[tuple[torch.Tensor, int]]):
    """The seeds' data set class: one image at a time."""

    def __init__(self, transform: Any, images: NDArray[np.uint8], labels: NDArray[np.int64]):
        self.transform, self.images, self.labels = transform, images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.transform(image=self.images[index])["image"]
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), int(self.labels[index])


def notebook(work: Work) -> Loop:
    """Its tracker is MLflow over a real SQLite file, its optimiser torch's default, its schedule the recipe's own."""
    recipe, device = work.recipe, work.device
    images = _Images(transform(bool(recipe.augmentation)), work.images, work.labels)
    loader = DataLoader(
        images, recipe.batch_size, shuffle=True, num_workers=work.workers, persistent_workers=work.workers > 0
    )
    client = connect(work.scratch, f"sqlite:///{work.scratch}/notebook.db").client

    def loop() -> Trained:
        run_id, step = client.create_run("0").info.run_id, 0
        model = work.torchs_model()
        optimizer = work.default_optimizer(model)
        scheduler = build_scheduler(optimizer, recipe.schedule, LR, work.steps, recipe.epochs)
        means = []
        clock = time.perf_counter()
        for _ in range(recipe.epochs):
            losses = []
            for inputs, targets in loader:
                inputs, targets = inputs.to(device), targets.to(device)
                optimizer.zero_grad()
                logits = model(inputs)
                loss = functional.cross_entropy(logits, targets)
                loss.backward()
                optimizer.step()
                scheduler.step()
                losses.append(loss.item())
                accuracy = (logits.argmax(1) == targets).float().mean().item()
                client.log_metric(run_id, "loss", losses[-1], step=step)
                client.log_metric(run_id, "accuracy", accuracy, step=step)
                step += 1
            means.append(sum(losses) / len(losses))
        return Trained(time.perf_counter() - clock, means)

    return loop
