"""The batched forms against albumentations itself: the same pixels for the same parameters, the same distributions."""

import os
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare
from torch import Tensor

from harness.augmentation.batched import counters, draws, pipeline, sample_keys
from harness.augmentation.batched_forms import Chosen, Corner, Flip, Form, Holes

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A

CPU = torch.device("cpu")
BORDERS = {"constant": 0, "replicate": 1, "reflect": 2, "wrap": 3, "reflect_101": 4}
STRICT = 1e-4  # seeds are fixed: a test that passes once passes always

sizes = st.integers(1, 9)
channels = st.sampled_from([1, 3])
positions = st.sampled_from(["center", "top_left", "top_right", "bottom_left", "bottom_right"])


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def form_of(transform: Any, image: np.ndarray) -> Any:
    """The single form of a transform."""
    (form,) = forms_of(transform, image)
    return form


def forms_of(transform: Any, image: np.ndarray) -> tuple[Form, ...]:
    height, width, depth = image.shape
    return pipeline([transform], (height, width, depth), CPU).forms


def drawn_by(form: Any, seed: int, number: int) -> Any:
    """The form's parameters for the samples 0..number-1, as the first transform of a pipeline."""
    return form.draw(draws(sample_keys(seed, 0, torch.arange(number)), counters(0, form.count)))


def batch(*images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(images))


def column(*values: int) -> Tensor:
    return torch.tensor(values)


def library_parameters(transform: Any, image: np.ndarray) -> dict[str, Any]:
    return transform.get_params_dependent_on_data({"shape": image.shape}, {})


@settings(deadline=None)
@given(
    size=st.tuples(sizes, sizes, channels),
    border=st.sampled_from(sorted(BORDERS)),
    padding=st.one_of(st.integers(0, 12), st.tuples(*[st.integers(0, 12)] * 2), st.tuples(*[st.integers(0, 12)] * 4)),
    fill=st.integers(0, 255),
    per_channel=st.booleans(),
)
def test_pad_has_the_librarys_pixels(size: Any, border: str, padding: Any, fill: int, per_channel: bool) -> None:
    """Every border, also wider than the image, with one fill or one a channel."""
    image = noise(*size)
    fills = tuple((fill + 7 * n) % 256 for n in range(size[2])) if per_channel else fill
    transform = A.Pad(padding=padding, border_mode=BORDERS[border], fill=fills)
    ours = pipeline([transform], size, CPU)(batch(image), column(0))
    np.testing.assert_array_equal(ours[0].numpy(), transform(image=image)["image"])


@settings(deadline=None)
@given(
    size=st.tuples(sizes, sizes, channels),
    least=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    divide=st.booleans(),
    position=positions,
    border=st.sampled_from(sorted(BORDERS)),
)
def test_pad_if_needed_has_the_librarys_pixels(
    size: Any, least: tuple[int, int], divide: bool, position: Any, border: str
) -> None:
    """Least sizes and divisors, odd remainders included, wherever the image stands."""
    image = noise(*size)
    at_least, divisors = ((None, None), least) if divide else (least, (None, None))
    transform = A.PadIfNeeded(*at_least, *divisors, position, border_mode=BORDERS[border], fill=9)
    ours = pipeline([transform], size, CPU)(batch(image), column(0))
    np.testing.assert_array_equal(ours[0].numpy(), transform(image=image)["image"])


@settings(deadline=None)
@given(
    size=st.tuples(sizes, sizes, channels),
    crop=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kind=st.sampled_from([A.RandomCrop, A.CenterCrop]),
    position=positions,
    seed=st.integers(0, 99),
)
def test_crops_have_the_librarys_pixels(size: Any, crop: tuple[int, int], kind: Any, position: Any, seed: int) -> None:
    """The library draws where to crop, padding first where the image is too small; ours crops there."""
    image = noise(*size)
    transform = kind(*crop, pad_if_needed=True, pad_position=position, border_mode=4, fill=3)
    transform.set_random_seed(seed)
    parameters = library_parameters(transform, image)
    images, left_top = batch(image), parameters["crop_coords"][:2]
    *pads, form = forms_of(transform, image)
    for pad in pads:
        images = pad.apply(images, ())
    corner = Corner(top=column(left_top[1]), left=column(left_top[0]))
    ours = form.apply(images, corner)
    np.testing.assert_array_equal(ours[0].numpy(), transform.apply(image, **parameters))
    if kind is A.CenterCrop:
        assert form.draw(torch.empty(1, 0, dtype=torch.int64)) == corner


@settings(deadline=None)
@given(size=st.tuples(sizes, sizes, channels), kind=st.sampled_from([A.HorizontalFlip, A.VerticalFlip]))
def test_flips_have_the_librarys_pixels(size: Any, kind: Any) -> None:
    """Of two images the chosen one is flipped, the other is not touched."""
    image, transform = noise(*size), kind(p=0.5)
    ours = form_of(transform, image).apply(batch(image, image), Chosen(torch.tensor([True, False])))
    np.testing.assert_array_equal(ours[0].numpy(), transform.apply(image))
    np.testing.assert_array_equal(ours[1].numpy(), image)


@settings(deadline=None)
@given(
    size=st.tuples(sizes, sizes, channels),
    holes=st.integers(1, 4),
    fractions=st.booleans(),
    fill=st.integers(0, 255),
    per_channel=st.booleans(),
    seed=st.integers(0, 99),
)
def test_cutout_has_the_librarys_pixels(
    size: Any, holes: int, fractions: bool, fill: int, per_channel: bool, seed: int
) -> None:
    """The library draws the holes, overlapping and empty ones too; ours fills them."""
    image = noise(*size)
    fills = tuple((fill + 7 * n) % 256 for n in range(size[2])) if per_channel else fill
    lengths = (0.1, 0.9) if fractions else (1, 12)
    transform = A.CoarseDropout((holes, holes), lengths, lengths, fill=fills, p=1.0)
    transform.set_random_seed(seed)
    parameters = library_parameters(transform, image)
    x_min, y_min, x_max, y_max = torch.from_numpy(parameters["holes"]).T[:, None]
    ours = form_of(transform, image).apply(batch(image), Holes(y_min, y_max, x_min, x_max))
    np.testing.assert_array_equal(ours[0].numpy(), transform.apply(image, **parameters))


def independent(table: np.ndarray) -> bool:
    result: Any = chi2_contingency(table)
    return result.pvalue > STRICT


def same_distribution(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Two samples of rows of integers, by chi-square over the rows that occur; none occurs on one side only."""
    values, place = np.unique(np.concatenate([ours, theirs]), axis=0, return_inverse=True)
    groups = np.repeat([0, 1], [len(ours), len(theirs)])
    table = np.zeros((2, len(values)), int)
    np.add.at(table, (groups, place.reshape(-1)), 1)
    return bool(table.all()) and independent(table)


def library_draws(transform: Any, name: str, image: np.ndarray, number: int) -> np.ndarray:
    transform.set_random_seed(0)
    return np.stack([np.asarray(library_parameters(transform, image)[name]) for _ in range(number)])


def test_random_crop_draws_like_the_library() -> None:
    """Corners of 7x8 crops of 10x10 images, all 4 x 3 of them."""
    image, transform = noise(10, 10, 1), A.RandomCrop(7, 8)
    form = form_of(transform, image)
    corner = drawn_by(form, 0, 4000)
    theirs = library_draws(transform, "crop_coords", image, 4000)[:, 1::-1]
    assert same_distribution(torch.stack(corner, 1).numpy(), theirs)


@pytest.mark.parametrize(
    ("heights", "widths"),
    [((2, 4), (1, 2)), ((4, 9), (6, 6)), ((0.2, 0.6), (0.5, 0.5)), ((0.29, 0.29), (0.0, 0.4)), ((1, 3), (0.5, 2.5))],
)
def test_cutout_draws_like_the_library(heights: Any, widths: Any) -> None:
    """Rows and columns of a hole in 6x6 images: lengths in pixels, also clipped to the image, and in fractions."""
    image, transform = noise(6, 6, 1), A.CoarseDropout((1, 1), heights, widths, p=1.0)
    form = form_of(transform, image)
    holes = drawn_by(form, 1, 8000)
    theirs = library_draws(transform, "holes", image, 8000)[:, 0]
    assert same_distribution(torch.cat([holes.top, holes.bottom], 1).numpy(), theirs[:, 1::2])
    assert same_distribution(torch.cat([holes.left, holes.right], 1).numpy(), theirs[:, 0::2])


def test_cutout_draws_the_librarys_number_of_holes() -> None:
    """From 2 to 4 holes, equally often, each where it likes; none in the share 1-p of the images."""
    image = noise(8, 8, 1)
    form = form_of(A.CoarseDropout((2, 4), (1, 1), (1, 1), p=0.75), image)
    holes = drawn_by(form, 2, 8000)
    number = (holes.bottom > holes.top).sum(1)
    counts = torch.bincount(number, minlength=5).numpy()
    assert chisquare(counts[[0, 2, 3, 4]]).pvalue > STRICT
    assert counts[1] == 0
    both = number >= 2
    cells = holes.top[both, 0] * 8 + holes.top[both, 1]
    assert chisquare(torch.bincount(cells, minlength=64).numpy()).pvalue > STRICT


@pytest.mark.parametrize(("p", "expected"), [(0.0, [0, 1]), (1.0, [1, 0])])
def test_p_of_0_and_1_mean_never_and_always(p: float, expected: list[int]) -> None:
    """No draw, however extreme, goes against certainty."""
    flip = Flip(horizontal=True, p=p)
    assert flip.draw(torch.tensor([[0], [2**32 - 1]])).applied.tolist() == [p == 1] * 2
    flips = pipeline([A.HorizontalFlip(p=p)], (1, 2, 1), CPU)
    images = flips(torch.tensor([[[[0], [1]]]], dtype=torch.uint8), sample_keys(0, 0, torch.arange(1)))
    assert images.flatten().tolist() == expected
