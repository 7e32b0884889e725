"""Training batches in the order of an epoch: the one place that makes them, for one run or several at once."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from harness.augmentation.normaliser import to_device
from harness.augmentation.source import Source, together


def epoch_order(seed: int, epoch: int, images: int) -> Tensor:
    """A permutation of the training images, (images,) int64 on the CPU, from the seed and the epoch alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(images, generator=generator)


def epoch_batches(
    sources: Sequence[Source], labels: Tensor, seeds: Sequence[int], epoch: int, batch_size: int, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of M runs that train at once: images (M, B, H, W, C) uint8 and labels (M, B), batch by batch.

    Args:
        sources: each run's augmented images.
        labels: (N,) int64 on the device.
        seeds: each run's; its order of the images follows from it.
        epoch: from 0.
        first: batches to leave out, of an epoch that was interrupted.
    """
    orders = [epoch_order(seed, epoch, len(labels)) for seed in seeds]
    targets = labels[to_device(torch.stack(orders), labels.device)].split(batch_size, dim=1)[first:]
    images = together(sources, epoch, [order.split(batch_size)[first:] for order in orders])
    yield from zip(images, targets, strict=True)
