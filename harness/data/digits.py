"""scikit-learn's handwritten digits, which are available without a network.

E. Alpaydin and C. Kaynak, UCI "Optical Recognition of Handwritten Digits", 1998 (its test part).
"""

from pathlib import Path

import numpy as np

from harness.data.origin import Origin, drawn
from harness.data.split import Decoded, Split, resized
from harness.plans.spec import Data

SIZE = 32


def origin(data: Data, root: Path) -> Origin:
    """The digits data set, which is part of scikit-learn; `root` is not used."""
    return Origin([data.name, data.image_size], lambda: decode_digits(data.image_size))


def decode_digits(image_size: int | None) -> Decoded:
    """1,797 handwritten digits, resized from 8x8 to 32x32 or image_size, with three equal channels and a fixed 80/20
    split."""
    from sklearn.datasets import load_digits

    pixels, targets = load_digits(return_X_y=True)  # (1797, 64), 0..16
    small = np.rint(np.asarray(pixels) * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    images = resized(small, image_size or SIZE).repeat(3, axis=3)
    labels = np.asarray(targets, np.int64)
    test = drawn(labels)
    classes = tuple(str(digit) for digit in range(10))
    return Decoded(classes, Split(images[~test], labels[~test]), Split(images[test], labels[test]))
