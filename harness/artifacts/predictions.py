"""What a network's logits say of images: class probabilities and the images that it gets wrong. NumPy only."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


def probabilities(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax over classes: (N, classes) → (N, classes)."""
    from scipy.special import softmax  # needed only when a run ends

    return softmax(logits.astype(np.float64), axis=1)


def misclassified(
    logits: NDArray[np.floating], labels: NDArray[np.integer], classes: tuple[str, ...]
) -> "pd.DataFrame":
    """The images (N,) that logits (N, classes) get wrong, most confident first: index, true, predicted, confidence."""
    import pandas as pd

    chance = probabilities(logits)
    predicted = logits.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-chance[wrong, predicted[wrong]], kind="stable")]
    return pd.DataFrame(
        {
            "index": wrong,
            "true": [classes[label] for label in labels[wrong]],
            "predicted": [classes[label] for label in predicted[wrong]],
            "confidence": chance[wrong, predicted[wrong]].round(4),
        }
    )
