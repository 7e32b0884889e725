"""Repeated images: exact counts, whatever the splits and labels."""

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.data.duplicates import Duplicates, duplicates
from harness.data.split import Split


def split(images: list[tuple[int, int]]) -> Split:
    """Images of 2x2 that differ in one number, given with their labels."""
    pixels = np.zeros((len(images), 2, 2, 1), np.uint8)
    pixels[:, 1, 1, 0] = [number for number, _ in images]
    return Split(pixels, np.array([label for _, label in images], np.int64))


def test_counts_of_a_small_set() -> None:
    """Three copies of one image in train are two repeats; a copy in test counts there; two labels count once."""
    train = split([(1, 0), (1, 0), (1, 1), (2, 0), (3, 0)])
    test = split([(1, 0), (3, 0), (3, 1), (4, 1), (4, 1)])
    assert duplicates(train, test) == Duplicates(within_train=2, test_in_train=3, two_labels=2)
    assert duplicates(split([(1, 0), (2, 1)]), split([(3, 0)])) == Duplicates(0, 0, 0)


pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=20)


@given(pairs, pairs)
def test_counts_agree_with_sets(train: list[tuple[int, int]], test: list[tuple[int, int]]) -> None:
    """For any images and labels, what Python's sets count."""
    known = {number for number, _ in train}
    labels = {number: {label for other, label in train + test if other == number} for number, _ in train + test}
    assert duplicates(split(train), split(test)) == Duplicates(
        within_train=len(train) - len(known),
        test_in_train=sum(number in known for number, _ in test),
        two_labels=sum(len(some) > 1 for some in labels.values()),
    )


def test_sixty_thousand_images_take_about_a_second() -> None:
    """Cheap beside decoding, which takes five seconds of CPU time for as many."""
    images = np.random.default_rng(0).integers(0, 256, (60_000, 32, 32, 3), np.uint8)
    labels = np.zeros(60_000, np.int64)
    begun = time.process_time()
    duplicates(Split(images[:50_000], labels[:50_000]), Split(images[50_000:], labels[50_000:]))
    assert time.process_time() - begun < 3
