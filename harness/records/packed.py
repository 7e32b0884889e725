"""Logits in one byte each, for published reports: the predictions are exact, each confidence is within one point.

Softmax sees only how far each logit lies below the greatest of its image. The root of that gap, in steps of 1/40, is
finest where the gaps are small and decide, and reaches a gap of 40, a probability of 4e-18.
"""

import numpy as np
from numpy.typing import NDArray

_STEPS = 40
"""A root of 1."""


def pack(logits: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Codes (images, classes) of logits (images, classes): 0 for each image's prediction alone, more for others.

    Where several logits are the greatest, or so near to it that a code cannot tell, the first of the greatest keeps 0.
    """
    exact = logits.astype(np.float64)
    gaps = exact.max(1, keepdims=True) - exact
    codes = np.clip(np.round(_STEPS * np.sqrt(gaps)), 1, 255).astype(np.uint8)
    codes[np.arange(len(codes)), logits.argmax(1)] = 0
    return codes


def unpack(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits (images, classes), each image's greatest 0."""
    return -((codes.astype(np.float32) / _STEPS) ** 2)
