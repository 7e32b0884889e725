"""Find identical images in a data set: test images that occur in training, and images with contradicting labels."""

import hashlib
from dataclasses import dataclass

import numpy as np

from harness.data.split import Pixels, Split


@dataclass(frozen=True)
class Duplicates:
    """Numbers of images with exactly the same pixels as another one, before images are held out.

    within_train: training images that repeat an earlier training image. test_in_train: test images that also occur in
    the training images. two_labels: distinct images with more than one label, in any split.
    """

    within_train: int
    test_in_train: int
    two_labels: int


def duplicates(train: Split, test: Split) -> Duplicates:
    """Count duplicates by 128-bit hashes of the pixels; 60,000 images of 32x32x3 take about 0.3 s."""
    hashes = np.array([*_hashes(train.images), *_hashes(test.images)], dtype="S32")
    _, image = np.unique(hashes, return_inverse=True)
    in_train, in_test = image[: len(train.labels)], image[len(train.labels) :]
    labelled = np.unique(np.stack([image, np.concatenate([train.labels, test.labels])]), axis=1)
    return Duplicates(
        within_train=len(in_train) - len(np.unique(in_train)),
        test_in_train=int(np.isin(in_test, in_train).sum()),
        two_labels=int((np.bincount(labelled[0]) > 1).sum()),
    )


def _hashes(images: Pixels) -> list[str]:
    return [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).hexdigest() for image in images]
