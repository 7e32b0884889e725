"""Results of invented experiments, whose truth is known: variants beside a common baseline, seed by seed."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
IMAGES = 359
"""Test images of the digits: their accuracies are multiples of 0.28 points."""


def differences(kind: str, draws: int, effects: Array, n: int, seed: int = 0) -> Array:
    """Differences from the baseline, (draws, variants, n), in spreads of a paired difference.

    Args:
        kind: of each run's result, "normal", "exponential", "t3" or "accuracy" (of IMAGES images), the same for all
            variants; or "skewed": the differences themselves have a long tail, as where a variant sometimes collapses.
        effects: each variant's true mean difference.
    """
    rng = np.random.default_rng([seed, n, len(effects), *kind.encode()])
    shape = draws, len(effects) + 1, n
    if kind == "skewed":
        return rng.exponential(1, (draws, len(effects), n)) - 1 + effects[:, None]
    if kind == "accuracy":  # about 97%, with a spread of seeds beside that of images
        chance = np.clip(0.97 + 0.005 * rng.normal(size=shape), 0, 1)
        results = rng.binomial(IMAGES, chance) / IMAGES
        spread = np.sqrt(0.005**2 + 0.97 * 0.03 / IMAGES)
    else:
        draw = {"normal": rng.normal, "exponential": rng.exponential, "t3": lambda size: rng.standard_t(3, size)}
        results, spread = draw[kind](size=shape), np.sqrt(3) if kind == "t3" else 1.0
    return (results[:, 1:] - results[:, :1]) / (spread * np.sqrt(2)) + effects[:, None]


def named(rows: Array, seeds: int) -> dict[str, dict[int, float]]:
    """variant → seed → difference, of the first seeds of a draw (variants, n)."""
    return {f"v{number}": dict(enumerate(row[:seeds].tolist())) for number, row in enumerate(rows)}
