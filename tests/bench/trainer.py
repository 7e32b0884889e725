"""Lightning's Trainer as its documents show it: torchvision's transforms, DataLoader workers, its own defaults.

Its checkpoint after the last step, progress bar and summary are off, which is to its advantage; its CSV logger is on.
"""

import logging
import time
import warnings
from typing import Any

import numpy as np
import pytorch_lightning as lightning  # pyright: ignore[reportMissingImports] only the benchmark installs it
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from harness.training.optimizers import build_scheduler
from tests.bench.work import LR, MEAN, STD, Loop, Trained, Work


class _Images(Dataset[tuple[torch.Tensor, int]]):
    """As torchvision's own data sets are: a PIL image, transformed when it is asked for."""

    def __init__(self, augmented: bool, images: NDArray[np.uint8], labels: NDArray[np.int64]):
        crop = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        cutout = transforms.RandomErasing(p=1.0, scale=(64 / 1024, 64 / 1024), ratio=(1.0, 1.0))  # 8x8 of 32x32
        normal = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        self.transform: Any = transforms.Compose([*crop, *normal, cutout] if augmented else normal)
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


class _Module(lightning.LightningModule):
    """A network, its loss and optimiser, and a stopwatch around training."""

    def __init__(self, work: Work):
        super().__init__()
        self.work, self.model = work, work.torchs_model()
        self.losses: list[torch.Tensor] = []
        self.seconds = 0.0

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        inputs, targets = batch
        logits = self.model(inputs)
        loss = functional.cross_entropy(logits, targets)
        self.log("train_loss", loss)
        self.log("train_accuracy", (logits.argmax(1) == targets).float().mean())
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = self.work.default_optimizer(self.model)
        recipe = self.work.recipe
        scheduler = build_scheduler(optimizer, recipe.schedule, LR, self.work.steps, recipe.epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        self.seconds = -time.perf_counter()

    def on_train_end(self) -> None:
        self.work.wait()
        self.seconds += time.perf_counter()


def trainer(work: Work) -> Loop:
    """`Trainer.fit` on the recipe's device, fp32 as by default."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    recipe = work.recipe
    images = _Images(bool(recipe.augmentation), work.images, work.labels)
    loader = DataLoader(
        images, recipe.batch_size, shuffle=True, num_workers=work.workers, persistent_workers=work.workers > 0
    )

    def loop() -> Trained:
        module = _Module(work)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its advice: more workers, another logger
            lightning.Trainer(
                accelerator="gpu" if work.device.startswith("cuda") else "cpu",
                devices=1,
                max_epochs=recipe.epochs,
                default_root_dir=work.scratch,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            ).fit(module, loader)
        return Trained(module.seconds, torch.stack(module.losses).view(recipe.epochs, -1).mean(1).tolist())

    return loop
