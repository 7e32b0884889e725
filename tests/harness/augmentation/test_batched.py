"""The batched pipeline: its random numbers, what it refuses, and that it may be compiled, captured and fused."""

import os
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare
from torch import Tensor

from harness.augmentation.batched import NoBatchedForm, counters, draws, pipeline, sample_keys
from harness.augmentation.batched_forms import Flip

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A

CPU = torch.device("cpu")
MASK = (1 << 64) - 1
STRICT = 1e-4  # seeds are fixed: a test that passes once passes always


def noise(number: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(number).integers(0, 256, (number, 8, 8, 3), dtype=np.uint8))


def independent(table: np.ndarray) -> bool:
    result: Any = chi2_contingency(table)
    return result.pvalue > STRICT


def split(key: int, counter: int) -> int:
    """SplitMix64 in Python's integers."""
    z = (key + (counter + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_random_numbers_are_those_of_splitmix64() -> None:
    """The tensor code agrees with exact integers, and those with the generator's published first outputs."""
    assert [split(1234567, n) for n in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    seed, epoch = 2**31 - 1, 7
    index = torch.tensor([0, 1, 49_999, 2**40])
    keys = sample_keys(seed, epoch, index)
    expected = [split(split(split(seed, 0), epoch), i) for i in index.tolist()]
    assert [key & MASK for key in keys.tolist()] == expected
    assert draws(keys, counters(3, 5)).tolist() == [
        [split(key, 3 * 65536 + n) >> 32 for n in range(5)] for key in expected
    ]


def test_random_numbers_are_uniform_and_unrelated() -> None:
    """Bytes of draws are uniform; neighbours in index, epoch, place and draw are independent (16 by 16 tables)."""
    index = torch.arange(40_000)
    keys, later = sample_keys(0, 0, index), sample_keys(0, 1, index)
    drawn = draws(keys, counters(0, 2))
    assert chisquare(torch.bincount(drawn[:, 0] >> 24, minlength=256).numpy()).pvalue > STRICT
    first = drawn[:, 0] >> 28
    neighbours = [
        drawn[:, 1] >> 28,
        draws(keys, counters(1, 1))[:, 0] >> 28,
        draws(later, counters(0, 1))[:, 0] >> 28,
        first.roll(1),
    ]
    for other in neighbours:
        table = torch.bincount(first * 16 + other, minlength=256).view(16, 16)
        assert independent(table.numpy())


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_flips_happen_with_probability_p_and_independently(p: float) -> None:
    """Both flips on 2x2 images: the four outcomes have the frequencies of independent choices."""
    image = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    flips = pipeline([A.HorizontalFlip(p=p), A.VerticalFlip(p=p)], (2, 2, 1), CPU)
    images = flips(torch.from_numpy(image).expand(8000, -1, -1, -1), sample_keys(3, 0, torch.arange(8000)))
    counts = torch.bincount(images[:, 0, 0, 0], minlength=4).numpy()
    expected = 8000 * np.array([(1 - p) ** 2, p * (1 - p), p * (1 - p), p * p])
    assert chisquare(counts, expected).pvalue > STRICT


def policy_of_all() -> list[Any]:
    return [
        A.Pad(2, border_mode=4),
        A.VerticalFlip(p=0.5),
        A.CenterCrop(11, 9),
        A.RandomCrop(8, 8),
        A.HorizontalFlip(p=0.5),
        A.CoarseDropout((1, 2), (3, 3), (3, 3), fill=(1, 2, 3), p=0.5),
        A.VerticalFlip(p=0.5),
    ]


def test_a_pipeline_is_one_graph_without_waiting_for_the_device() -> None:
    """torch.compile takes it whole, so no value on the device decides a shape or a branch; pixels stay the same."""
    images, keys = noise(20), sample_keys(0, 0, torch.arange(20))
    policy = pipeline(policy_of_all(), (8, 8, 3), CPU)
    compiled = torch.compile(policy.__call__, backend="eager", fullgraph=True, dynamic=False)
    assert torch.equal(compiled(images, keys), policy(images, keys))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_pixels() -> None:
    """The same images from the CPU, from CUDA, and from a CUDA graph."""
    cuda = torch.device("cuda")
    images, index = noise(64), torch.arange(64)
    expected = pipeline(policy_of_all(), (8, 8, 3), CPU)(images, sample_keys(0, 0, index))
    policy = pipeline(policy_of_all(), (8, 8, 3), cuda)
    on_device, keys = images.to(cuda), sample_keys(0, 0, index.to(cuda))
    assert torch.equal(policy(on_device, keys).cpu(), expected)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = policy(on_device, keys)
    graph.replay()
    assert torch.equal(captured.cpu(), expected)


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (A.Rotate(10), "Rotate has no batched form"),
        (A.CoarseDropout(fill="random"), "`CoarseDropout.fill` 'random' has no batched form"),
        (A.CoarseDropout(fill=1.5), "`CoarseDropout.fill` 1.5 has no batched form"),
        (A.CoarseDropout(fill=(1, 2)), r"`CoarseDropout.fill` \(1.0, 2.0\) has no batched form"),
        (A.Pad(4, fill=256), "`Pad.fill` 256.0 has no batched form"),
        (A.PadIfNeeded(40, 40, position="random"), "`PadIfNeeded.position` 'random' has no batched form"),
        (
            A.RandomCrop(40, 40, pad_if_needed=True, pad_position="random"),
            "`RandomCrop.pad_position` 'random' has no batched form",
        ),
        (A.CenterCrop(40, 40), "CenterCrop has no batched form that is larger than its images"),
        (A.Pad(4, p=0.5), "Pad has no batched form with p=0.5: it would resize only some images"),
        (
            A.CoarseDropout(hole_height_range=(0.1, 0.2), hole_width_range=(2, 3)),
            "CoarseDropout has no batched form with holes of 2..3 in 32 pixels",
        ),
    ],
)
def test_what_has_no_exact_form_is_named(transform: Any, reason: str) -> None:
    """Each argument without an exact form is refused with its own words, as a second transform too."""
    with pytest.raises(NoBatchedForm, match=f"^{reason}$"):
        pipeline([A.HorizontalFlip(), transform], (32, 32, 3), CPU)


def test_a_transform_that_never_happens_needs_no_form() -> None:
    """p=0 is dropped, and the places of the others, from which their numbers follow, stay."""
    policy = pipeline([A.Rotate(p=0), A.Pad(4, p=0), A.HorizontalFlip(p=1)], (8, 8, 3), CPU)
    assert policy.forms == (Flip(horizontal=True, p=1.0),)
    assert torch.equal(policy.counted, counters(2, 1))
