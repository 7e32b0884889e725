"""Make the training batches of an epoch, for one run or several stacked runs. All batches are made here."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from harness.augmentation.normaliser import to_device
from harness.augmentation.source import Source, together


def epoch_order(seed: int, epoch: int, images: int) -> Tensor:
    """The permutation of the training images for an epoch, shape (images,), int64, on the CPU; depends only on the seed
    and the epoch."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(images, generator=generator)


def epoch_batches(
    sources: Sequence[Source], labels: Tensor, seeds: Sequence[int], epoch: int, batch_size: int, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of one epoch of M stacked runs: images (M, B, H, W, C), uint8, and labels (M, B).

    Args:
        sources: the source of augmented images of each run.
        labels: shape (N,), int64, on the device.
        seeds: the seed of each run, which determines its order of the images.
        epoch: number of the epoch, from 0.
        first: number of batches to skip, for an epoch that was interrupted.
    """
    orders = [epoch_order(seed, epoch, len(labels)) for seed in seeds]
    targets = labels[to_device(torch.stack(orders), labels.device)].split(batch_size, dim=1)[first:]
    images = together(sources, epoch, [order.split(batch_size)[first:] for order in orders])
    yield from zip(images, targets, strict=True)
