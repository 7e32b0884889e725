"""Logits in one byte: every prediction is kept, confidences hardly move, files are small."""

import io

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.artifacts.predictions import probabilities
from harness.records.packed import pack, unpack

LOGITS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.floats(-1e6, 1e6, width=32)
)


@given(LOGITS)
@example(np.array([[1.0, 1.0, 0.5]], np.float32))  # an exact tie: the first is the prediction
@example(np.array([[1.0, np.nextafter(np.float32(1), np.float32(2))]], np.float32))  # a tie in a byte alone
@example(np.array([[-3e38, 0.0], [3e38, 0.0]], np.float32))
def test_the_order_of_classes_is_kept(logits: np.ndarray) -> None:
    """Whatever the logits are: so top-5 accuracy is the same; nothing becomes infinite or undefined."""
    codes = pack(logits)
    kept = unpack(codes)
    assert codes.dtype == np.uint8
    assert (kept.argmax(1) == logits.argmax(1)).all()
    assert np.isfinite(kept).all()
    np.testing.assert_array_equal(np.argsort(-kept, 1, kind="stable"), np.argsort(-logits, 1, kind="stable"))


@given(LOGITS)
def test_packing_what_was_unpacked_changes_nothing(logits: np.ndarray) -> None:
    """A published report can be published again and loses no further digit."""
    codes = pack(logits)
    assert (pack(unpack(codes)) == codes).all()


def ten_thousand() -> np.ndarray:
    """Logits (10000, 10) as a CIFAR-10 network gives them: a spread of 3, the true class ahead."""
    random = np.random.default_rng(0)
    return (random.normal(0, 3, (10_000, 10)) + 4 * np.eye(10)[np.arange(10_000) % 10]).astype(np.float32)


def test_confidence_hardly_moves() -> None:
    """Each image's confidence is kept to two points, their mean to 0.05, the mean loss to 0.002."""
    exact, kept = (probabilities(logits) for logits in (ten_thousand(), unpack(pack(ten_thousand()))))
    assert np.abs(exact - kept).max() < 0.02
    assert abs(exact.max(1).mean() - kept.max(1).mean()) < 5e-4
    right = np.arange(10_000), np.arange(10_000) % 10
    assert abs(np.log(exact[right]).mean() - np.log(kept[right]).mean()) < 0.002


def test_28_runs_of_10000_images_take_2_5_megabytes() -> None:
    """A run's predictions compress to less than 90 kB, half of what float16 takes."""
    file = io.BytesIO()
    np.savez_compressed(file, logits=pack(ten_thousand()), labels=(np.arange(10_000) % 10).astype(np.uint8))
    assert 28 * len(file.getvalue()) < 2_500_000
