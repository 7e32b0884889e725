"""The images that training gets: the declared pipeline, from either backend, the same for the same seed."""

from collections import Counter
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.augmentation.source import AugmentError, Source, source
from harness.plans.spec import Transform

Backend = Literal["batched", "albumentations"]
BACKENDS: list[Backend] = ["batched", "albumentations"]
both = pytest.mark.parametrize("backend", BACKENDS)

MEAN = (0.49, 0.48, 0.45)
MEAN_BYTES = [125, 122, 115]

PAD = Transform(name="Pad", padding=4, border_mode=4)
CROP = Transform(name="RandomCrop", height="image_height", width="image_width")
FLIP = Transform(name="HorizontalFlip", p=0.5)
CUTOUT = Transform(
    name="CoarseDropout",
    num_holes_range=(1, 1),
    hole_height_range=(8, 8),
    hole_width_range=(8, 8),
    fill="dataset_mean",
    p=1.0,
)
CIFAR = (PAD, CROP, FLIP, CUTOUT)
LIBRARY_ONLY = (Transform(name="Rotate", limit=(-30, 30), p=0.7), Transform(name="GaussNoise", p=0.5), *CIFAR)


def noise(number: int, height: int = 16, width: int = 16, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (number, height, width, channels), dtype=torch.uint8, generator=generator)


def augmented(made: Source, epoch: int, index: Tensor, batch_size: int) -> Tensor:
    return torch.cat(list(made.batches(epoch, index.split(batch_size))))


@both
def test_batch_size_and_resumption_change_nothing(backend: Backend) -> None:
    """Batches of 1, 7 and 50, another order, and an epoch taken up in its middle give each sample the same image."""
    images, index = noise(50), torch.arange(50)
    made = source(CIFAR, backend, images, MEAN, 5)
    whole = augmented(made, 3, index, 50)
    assert torch.equal(augmented(made, 3, index, 1), whole)
    assert torch.equal(augmented(made, 3, index, 7), whole)
    assert torch.equal(augmented(made, 3, index.flip(0), 7), whole.flip(0))
    assert torch.equal(augmented(source(CIFAR, backend, images, MEAN, 5), 3, index[28:], 7), whole[28:])


@both
def test_epochs_seeds_and_samples_differ(backend: Backend) -> None:
    """Another epoch, another seed and another index each change almost every image."""
    images, index = noise(1).expand(200, -1, -1, -1), torch.arange(200)
    made = source(CIFAR, backend, images, MEAN, 5)
    first = augmented(made, 0, index, 50)
    for other in (augmented(made, 1, index, 50), augmented(source(CIFAR, backend, images, MEAN, 6), 0, index, 50)):
        assert (first != other).flatten(1).any(1).sum() > 190
    assert len(first.flatten(1).unique(dim=0)) > 190


@both
def test_cutout_fills_exactly_64_pixels_with_the_mean(backend: Backend) -> None:
    """One whole 8x8 square in every image, nothing else changed; the mean is the data set's, rounded, per channel."""
    images = torch.zeros(300, 16, 16, 3, dtype=torch.uint8)
    result = augmented(source((CUTOUT,), backend, images, MEAN, 0), 0, torch.arange(300), 64)
    hole = (result == torch.tensor(MEAN_BYTES, dtype=torch.uint8)).all(-1)
    assert (hole.sum((1, 2)) == 64).all()
    assert (hole.any(1).sum(1) == 8).all()
    assert (hole.any(2).sum(1) == 8).all()
    assert (result[~hole] == 0).all()
    corners = {(int(h.any(1).int().argmax()), int(h.any(0).int().argmax())) for h in hole}
    assert {row for row, _ in corners} == {column for _, column in corners} == set(range(9))


@both
def test_the_mean_of_one_channel_is_one_number(backend: Backend) -> None:
    """Grey images are filled too."""
    images = torch.zeros(4, 8, 8, 1, dtype=torch.uint8)
    result = augmented(source((CUTOUT,), backend, images, (0.13,), 0), 0, torch.arange(4), 4)
    assert result.unique().tolist() == [33]
    assert result.shape == images.shape


@both
@pytest.mark.parametrize(("border", "mode"), [(0, "constant"), (4, "reflect"), (2, "symmetric"), (1, "edge")])
def test_pad_and_crop_are_the_windows_of_the_padded_image(backend: Backend, border: int, mode: Any) -> None:
    """Every result is one of the 81 windows of NumPy's padding in the same mode, and all 81 occur."""
    image = noise(1, 8, 8)[0]
    padded = np.pad(image.numpy(), ((4, 4), (4, 4), (0, 0)), mode)
    windows = {padded[y : y + 8, x : x + 8].tobytes(): (y, x) for y in range(9) for x in range(9)}
    pipeline = (Transform(name="PadIfNeeded", min_height=16, min_width=16, border_mode=border), CROP)
    images = image.expand(1500, -1, -1, -1)
    result = augmented(source(pipeline, backend, images, MEAN, 0), 0, torch.arange(1500), 256)
    assert {windows[one.numpy().tobytes()] for one in result} == set(windows.values())


@both
def test_flips_happen_to_half_the_images_and_independently(backend: Backend) -> None:
    """Sideways, upside down, both and neither: a quarter each, within 3.6 standard deviations.

    With `Compose.set_random_seed` for every sample, only "both" and "neither" ever happen.
    """
    images = torch.arange(4, dtype=torch.uint8).view(1, 2, 2, 1).expand(2000, -1, -1, -1)
    pipeline = (FLIP, Transform(name="VerticalFlip", p=0.5))
    result = augmented(source(pipeline, backend, images, (0.5,), 0), 0, torch.arange(2000), 500)
    counts = Counter(tuple(one.flatten().tolist()) for one in result)
    assert set(counts) == {(0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)}
    assert all(430 < count < 570 for count in counts.values())


@both
def test_nothing_else_is_touched(backend: Backend) -> None:
    """Training images stay as they were, and so does torch's global generator, on which dropout and order depend."""
    images = noise(20)
    before, state = images.clone(), torch.get_rng_state()
    augmented(source(CIFAR, backend, images, MEAN, 5), 0, torch.arange(20), 5)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_transforms_are_plain_indexing() -> None:
    """Without a pipeline images come as they are."""
    images, index = noise(20), torch.tensor([3, 3, 19, 0, 7])
    made = source((), "auto", images, MEAN, 5)
    assert (made.backend, made.reason) == ("none", "no transforms")
    assert torch.equal(augmented(made, 0, index, 2), images[index])


@pytest.mark.parametrize(
    ("transforms", "requested", "backend", "reason"),
    [
        (CIFAR, "auto", "batched", "every transform has an exact batched form"),
        (CIFAR, "albumentations", "albumentations", "as requested"),
        (LIBRARY_ONLY, "auto", "albumentations", "Rotate has no batched form"),
        (
            (Transform(name="CoarseDropout", fill="random"),),
            "auto",
            "albumentations",
            "`CoarseDropout.fill` 'random' has no batched form",
        ),
    ],
)
def test_the_backend_is_chosen_and_says_why(transforms: Any, requested: Any, backend: str, reason: str) -> None:
    """auto takes tensor code where it is exact, else the library, and the log learns which argument decided."""
    made = source(transforms, requested, noise(2), MEAN, 0)
    assert (made.backend, made.reason) == (backend, reason)


def test_batched_is_refused_where_it_is_not_exact() -> None:
    """Who asks for the batched backend never gets the library in silence."""
    with pytest.raises(
        AugmentError, match=r"^`augment_backend` cannot be 'batched': Rotate has no batched form; use 'a"
    ):
        source(LIBRARY_ONLY, "batched", noise(2), MEAN, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@both
def test_the_device_changes_nothing(backend: Backend) -> None:
    """The same batches from the CPU and from CUDA, where several batches are made at once."""
    images, index = noise(50), torch.arange(50)
    expected = list(source(CIFAR, backend, images, MEAN, 5).batches(0, index.split(7)))
    made = list(source(CIFAR, backend, images.cuda(), MEAN, 5, device="cuda").batches(0, index.split(7)))
    assert all(torch.equal(a, b.cpu()) for a, b in zip(expected, made, strict=True))
