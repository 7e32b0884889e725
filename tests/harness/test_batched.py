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

from harness.batched import NoBatchedForm, Pipeline, draws, pipeline, sample_keys
from harness.batched_forms import Chosen, Corner, Flip, Holes

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A

CPU = torch.device("cpu")
BORDERS = {"constant": 0, "replicate": 1, "reflect": 2, "wrap": 3, "reflect_101": 4}
MASK = (1 << 64) - 1
STRICT = 1e-4  # seeds are fixed: a test that passes once passes always

sizes = st.integers(1, 9)
channels = st.sampled_from([1, 3])
positions = st.sampled_from(["center", "top_left", "top_right", "bottom_left", "bottom_right"])


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def form_of(transform: Any, image: np.ndarray) -> Any:
    """The single form of a transform."""
    ((_, form),) = forms_of(transform, image)
    return form


def forms_of(transform: Any, image: np.ndarray) -> tuple[tuple[int, Any], ...]:
    height, width, depth = image.shape
    return pipeline([transform], (height, width, depth), CPU).forms


def batch(*images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(images))


def column(*values: int) -> Tensor:
    return torch.tensor(values)


def library_parameters(transform: Any, image: np.ndarray) -> dict[str, Any]:
    return transform.get_params_dependent_on_data({"shape": image.shape}, {})


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
    assert draws(keys, 3, 5).tolist() == [[split(key, 3 * 65536 + n) >> 32 for n in range(5)] for key in expected]


def test_random_numbers_are_uniform_and_unrelated() -> None:
    """Bytes of draws are uniform; neighbours in index, epoch, place and draw are independent (16 by 16 tables)."""
    index = torch.arange(40_000)
    keys, later = sample_keys(0, 0, index), sample_keys(0, 1, index)
    drawn = draws(keys, 0, 2)
    assert chisquare(torch.bincount(drawn[:, 0] >> 24, minlength=256).numpy()).pvalue > STRICT
    first = drawn[:, 0] >> 28
    neighbours = [drawn[:, 1] >> 28, draws(keys, 1, 1)[:, 0] >> 28, draws(later, 0, 1)[:, 0] >> 28, first.roll(1)]
    for other in neighbours:
        table = torch.bincount(first * 16 + other, minlength=256).view(16, 16)
        assert independent(table.numpy())


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
    *pads, (_, form) = forms_of(transform, image)
    for _, pad in pads:
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
    corner = form.draw(draws(sample_keys(0, 0, torch.arange(4000)), 0, form.count))
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
    holes = form.draw(draws(sample_keys(1, 0, torch.arange(8000)), 0, form.count))
    theirs = library_draws(transform, "holes", image, 8000)[:, 0]
    assert same_distribution(torch.cat([holes.top, holes.bottom], 1).numpy(), theirs[:, 1::2])
    assert same_distribution(torch.cat([holes.left, holes.right], 1).numpy(), theirs[:, 0::2])


def test_cutout_draws_the_librarys_number_of_holes() -> None:
    """From 2 to 4 holes, equally often, each where it likes; none in the share 1-p of the images."""
    image = noise(8, 8, 1)
    form = form_of(A.CoarseDropout((2, 4), (1, 1), (1, 1), p=0.75), image)
    holes = form.draw(draws(sample_keys(2, 0, torch.arange(8000)), 0, form.count))
    number = (holes.bottom > holes.top).sum(1)
    counts = torch.bincount(number, minlength=5).numpy()
    assert chisquare(counts[[0, 2, 3, 4]]).pvalue > STRICT
    assert counts[1] == 0
    both = number >= 2
    cells = holes.top[both, 0] * 8 + holes.top[both, 1]
    assert chisquare(torch.bincount(cells, minlength=64).numpy()).pvalue > STRICT


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_flips_happen_with_probability_p_and_independently(p: float) -> None:
    """Both flips on 2x2 images: the four outcomes have the frequencies of independent choices."""
    image = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    flips = pipeline([A.HorizontalFlip(p=p), A.VerticalFlip(p=p)], (2, 2, 1), CPU)
    images = flips(torch.from_numpy(image).expand(8000, -1, -1, -1), sample_keys(3, 0, torch.arange(8000)))
    counts = torch.bincount(images[:, 0, 0, 0], minlength=4).numpy()
    expected = 8000 * np.array([(1 - p) ** 2, p * (1 - p), p * (1 - p), p * p])
    assert chisquare(counts, expected).pvalue > STRICT


@pytest.mark.parametrize(("p", "expected"), [(0.0, [0, 1]), (1.0, [1, 0])])
def test_p_of_0_and_1_mean_never_and_always(p: float, expected: list[int]) -> None:
    """No draw, however extreme, goes against certainty."""
    flip = Flip(horizontal=True, p=p)
    assert flip.draw(torch.tensor([[0], [2**32 - 1]])).applied.tolist() == [p == 1] * 2
    flips = pipeline([A.HorizontalFlip(p=p)], (1, 2, 1), CPU)
    images = flips(torch.tensor([[[[0], [1]]]], dtype=torch.uint8), sample_keys(0, 0, torch.arange(1)))
    assert images.flatten().tolist() == expected


def cifar_policy() -> list[Any]:
    return [
        A.Pad(2, border_mode=4),
        A.RandomCrop(8, 8),
        A.HorizontalFlip(p=0.5),
        A.CoarseDropout((1, 2), (3, 3), (3, 3), fill=(1, 2, 3), p=0.5),
        A.VerticalFlip(p=0.5),
    ]


def test_moving_pixels_once_equals_moving_them_form_by_form() -> None:
    """Consecutive crops and flips share one gather; the result is that of applying each form by itself."""
    images, keys = batch(*noise(50, 8, 8, 3)), sample_keys(0, 0, torch.arange(50))
    policy = pipeline(cifar_policy(), (8, 8, 3), CPU)
    one_by_one = images
    for place, form in policy.forms:
        one_by_one = form.apply(one_by_one, form.draw(draws(keys, place, form.count)))
    assert torch.equal(policy(images, keys), one_by_one)
    assert not torch.equal(images, one_by_one)


def test_a_pipeline_is_one_graph_without_waiting_for_the_device() -> None:
    """torch.compile takes it whole, so no value on the device decides a shape or a branch; pixels stay the same."""
    images, keys = batch(*noise(20, 8, 8, 3)), sample_keys(0, 0, torch.arange(20))
    policy = pipeline(cifar_policy(), (8, 8, 3), CPU)
    compiled = torch.compile(policy.__call__, backend="eager", fullgraph=True, dynamic=False)
    assert torch.equal(compiled(images, keys), policy(images, keys))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_pixels() -> None:
    """The same images from the CPU, from CUDA, and from a CUDA graph."""
    cuda = torch.device("cuda")
    images, index = batch(*noise(64, 8, 8, 3)), torch.arange(64)
    expected = pipeline(cifar_policy(), (8, 8, 3), CPU)(images, sample_keys(0, 0, index))
    policy = pipeline(cifar_policy(), (8, 8, 3), cuda)
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
    made: Pipeline = pipeline([A.Rotate(p=0), A.Pad(4, p=0), A.HorizontalFlip(p=1)], (8, 8, 3), CPU)
    assert [place for place, _ in made.forms] == [2]
