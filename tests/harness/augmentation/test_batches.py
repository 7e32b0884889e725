"""Training batches: each run's own images and labels, in an order of its seed and the epoch alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.augmentation.batches import epoch_batches, epoch_order
from harness.augmentation.source import Source, source
from harness.plans.spec import Transform

CROP = (
    Transform(name="Pad", padding=2),
    Transform(name="RandomCrop", height="image_height", width="image_width"),
    Transform(name="HorizontalFlip", p=0.5),
)
SEEDS = (3, 4, 5)
LABELS = torch.arange(72) % 3
IMAGES = torch.randint(256, (72, 12, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
Batches = list[tuple[Tensor, Tensor]]


def batches(sources: list[Source], seeds: tuple[int, ...], first: int = 0) -> Batches:
    return list(epoch_batches(sources, LABELS, seeds, epoch=2, batch_size=16, first=first))


def test_order_is_a_permutation_of_seed_and_epoch() -> None:
    """Every image once; the same again for the same seed and epoch, whatever the global state; others otherwise."""
    order = epoch_order(3, 1, 100)
    torch.manual_seed(99)
    assert torch.equal(epoch_order(3, 1, 100), order)
    assert sorted(order.tolist()) == list(range(100))
    assert not torch.equal(epoch_order(3, 2, 100), order)
    assert not torch.equal(epoch_order(4, 1, 100), order)


def test_a_batch_is_the_images_of_the_order_and_their_labels() -> None:
    """Without transforms: five batches, the last of 8, that together are the epoch's order."""
    drawn = batches([source((), "auto", IMAGES, (0.4,) * 3, 3)], (3,))
    assert [images.shape for images, _ in drawn] == [(1, size, 12, 12, 3) for size in (16, 16, 16, 16, 8)]
    order = epoch_order(3, 2, 72)
    assert torch.equal(torch.cat([images[0] for images, _ in drawn]), IMAGES[order])
    assert torch.equal(torch.cat([labels[0] for _, labels in drawn]), LABELS[order])


@pytest.mark.parametrize(
    ("transforms", "backend"),
    [((), "auto"), (CROP, "auto"), (CROP, "albumentations")],
    ids=["none", "batched", "library"],
)
def test_batches_of_several_runs_are_theirs(transforms: tuple[Transform, ...], backend: Any) -> None:
    """Each run's images and labels, drawn together, are bit for bit those that it draws alone; and those of an epoch
    that was interrupted after three batches are its last two."""
    sources = [source(transforms, backend, IMAGES, (0.4,) * 3, seed) for seed in SEEDS]
    alone = [batches([one], (seed,)) for one, seed in zip(sources, SEEDS, strict=True)]
    drawn = batches(sources, SEEDS)
    assert len(drawn) == 5
    for place, (images, labels) in enumerate(drawn):
        assert torch.equal(images, torch.cat([of_run[place][0] for of_run in alone]))
        assert torch.equal(labels, torch.cat([of_run[place][1] for of_run in alone]))
    rest = batches(sources, SEEDS, first=3)
    assert len(rest) == 2
    for (images, labels), (all_images, all_labels) in zip(rest, drawn[3:], strict=True):
        assert torch.equal(images, all_images)
        assert torch.equal(labels, all_labels)
