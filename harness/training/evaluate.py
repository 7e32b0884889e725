"""Predictions and scores of a network on one split."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.augmentation.normaliser import Normaliser, to_device
from harness.records.events import Scores

BATCH, CPU_BATCH = 500, 100
"""Batch sizes of evaluation. A CPU's caches favour small ones: a resnet takes 25% less time with 100 than with 500."""

ShouldStop = Callable[[], bool]
"""Polled during long work; returning True makes the work raise `Interrupted`."""


class Interrupted(Exception):
    """The work was stopped on request."""


def predict(
    model: nn.Module, images: Tensor, normaliser: Normaliser, stop: ShouldStop = lambda: False, flip: bool = False
) -> Tensor:
    """Compute logits in evaluation mode; the network's mode is restored.

    Args:
        images: shape (N, H, W, C), uint8.
        stop: polled before every batch.
        flip: average the logits of each image and of its mirror image.

    Returns:
        Logits, shape (N, classes), float32.

    Raises:
        Interrupted: `stop` returned True.
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
    """Mean cross entropy and accuracy; synchronises with the device once.

    Args:
        logits: shape (N, classes).
        labels: shape (N,).
    """
    correct = (logits.argmax(1) == labels).sum()  # exact as float32 up to 16 million images; MPS has no float64
    loss, right = torch.stack([functional.cross_entropy(logits, labels), correct]).tolist()
    return Scores.model_construct(loss=loss, accuracy=right / len(labels))  # the loop checks that the loss is finite
