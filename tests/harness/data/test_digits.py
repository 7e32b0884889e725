"""The digits that come with scikit-learn: the same images on every machine."""

from pathlib import Path

import numpy as np

from harness.data.load import load
from harness.plans.spec import Data

CHECKSUM = "07daad7176f39b9c"


def test_digits_are_pinned(tmp_path: Path) -> None:
    """1,797 images in a stratified 80/20 split, three equal channels, the same pixels on every machine."""
    digits = load(Data(name="digits"), tmp_path)
    assert digits.train.images.shape == (1438, 32, 32, 3)
    assert digits.test.images.shape == (359, 32, 32, 3)
    assert digits.classes == tuple("0123456789")
    assert np.ptp(digits.train.images, axis=3).max() == 0
    assert (digits.train.images.min(), digits.train.images.max()) == (0, 255)
    both = np.concatenate([digits.train.labels, digits.test.labels])
    expected = [round(0.2 * count) for count in np.bincount(both)]
    assert np.bincount(digits.test.labels).tolist() == expected
    assert digits.checksum == CHECKSUM
    assert load(Data(name="digits", image_size=8), tmp_path).train.images.shape == (1438, 8, 8, 3)
