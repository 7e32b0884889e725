"""The draw that holds images out, and resizing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.data.split import resized, stratified


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.floats(0, 0.5), st.integers(0, 2**63))
def test_stratified_takes_a_rounded_share_of_each_class(labels: list[int], fraction: float, seed: int) -> None:
    """For any labels: round(fraction * count) of each class, the same for the same seed."""
    classes = np.array(labels, np.int64)
    held = stratified(classes, fraction, seed)
    for label in set(labels):
        assert held[classes == label].sum() == round(fraction * labels.count(label))
    np.testing.assert_array_equal(held, stratified(classes, fraction, seed))


def test_stratified_is_pinned() -> None:
    """The draw for a seed never changes: a recorded validation_seed must mean the same images in years."""
    assert np.flatnonzero(stratified(np.arange(20) % 2, 0.3, seed=1)).tolist() == [2, 9, 16, 17, 18, 19]


def test_resized_is_pillows_bilinear_of_each_image() -> None:
    """Every image alone, grey or colour, through Pillow's bilinear filter."""
    for channels in (1, 3):
        images = np.random.default_rng(0).integers(0, 256, (3, 9, 7, channels), np.uint8)
        small = resized(images, 5)
        assert small.shape == (3, 5, 5, channels)
        expected = Image.fromarray(images[2, ..., 0]).resize((5, 5), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(small[2, ..., 0], np.asarray(expected))
