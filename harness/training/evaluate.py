"""Predictions of a network on one split, and its scores. Knows no MLflow, no files."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.augmentation.normaliser import Normaliser, to_device
from harness.records.events import Scores

BATCH, CPU_BATCH = 500, 100
"""Images at once. On a CPU caches decide: with 100 a resnet takes three quarters of the time that it takes with 500."""

ShouldStop = Callable[[], bool]
"""Polled during long work; True makes the work raise `Interrupted`."""


class Interrupted(Exception):
    """The work was asked to stop, and did."""


def predict(
    model: nn.Module, images: Tensor, normaliser: Normaliser, stop: ShouldStop = lambda: False, flip: bool = False
) -> Tensor:
    """Logits of images (N, H, W, C) uint8 → (N, classes) float32, in evaluation mode; the mode is put back.

    Args:
        flip: take the mean of an image's logits and its mirror image's.

    Raises:
        Interrupted: `stop`, asked before every batch, said so.
    """
    training = model.training
    model.eval()
    logits: list[Tensor] = []
    with torch.inference_mode(), normaliser.autocast:
        for part in images.split(CPU_BATCH if normaliser.mean.device.type == "cpu" else BATCH):
            if stop():
                raise Interrupted
            inputs = normaliser(to_device(part, normaliser.mean.device))
            logits.append(model(inputs).float())
            if flip:
                logits[-1] = (logits[-1] + model(inputs.flip(-1)).float()) / 2
    model.train(training)
    return torch.cat(logits)


def score(logits: Tensor, labels: Tensor) -> Scores:
    """Mean cross entropy and accuracy: (N, classes), (N,) → two numbers. Waits for the device once."""
    correct = (logits.argmax(1) == labels).sum()  # as a float32 exact up to 16 million images; MPS has no float64
    loss, right = torch.stack([functional.cross_entropy(logits, labels), correct]).tolist()
    return Scores.model_construct(loss=loss, accuracy=right / len(labels))  # a loss may be infinite: the loop looks
