"""Grids of test images that runs disagree on or all get wrong: selection, order and drawing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.artifacts.figures import LONGEST, grid, shortened
from harness.values import HarnessError
from reports.errors import Indices, correct
from reports.select import Selection

SHOWN = 16
"""Maximum number of images in a grid."""


@dataclass
class Images:
    """Available test images by index, shape (H, W, C), uint8. Records which ones were shown, for publishing."""

    pixels: Mapping[int, NDArray[np.uint8]] | NDArray[np.uint8]
    shown: set[int] = field(default_factory=set)

    def take(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """The images with these indices, shape (len(indices), H, W, C).

        Raises:
            HarnessError: an image is not available.
        """
        lacking = [index for index in indices if not isinstance(self.pixels, np.ndarray) and index not in self.pixels]
        if lacking:
            raise HarnessError(f"test image {lacking[0]} is not among those published; publish the report again")
        self.shown.update(indices)
        return np.stack([self.pixels[index] for index in indices])


def wrong_everywhere(selection: Selection) -> Indices:
    """Images that every run gets wrong, those with the highest confidence first."""
    never = np.flatnonzero(~np.concatenate(list(correct(selection).values())).any(axis=0))
    return never[np.argsort(-_mean_confidence(selection)[never], kind="stable")]


def most_unstable(selection: Selection) -> Indices:
    """Images on which seeds of a variant disagree: the most evenly divided first, then by confidence."""
    shares = np.stack([runs.mean(axis=0) for runs in correct(selection).values()])
    divided = (shares * (1 - shares)).sum(axis=0)
    images = np.flatnonzero(divided)
    return images[np.lexsort((-_mean_confidence(selection)[images], -divided[images].round(9)))]


def clearest_first(selection: Selection, images: Indices, variant: str) -> Indices:
    """Sort images by how many runs agree on the flip, then by the change in the true class's probability."""
    right, labels = correct(selection), selection.records[0].labels
    new, old = (selection.answers[name] for name in (variant, selection.baseline))
    share = np.abs(right[variant].mean(axis=0) - right[selection.baseline].mean(axis=0))
    true = [found.chance[np.arange(len(labels)), labels] for found in (new, old)]
    return images[np.lexsort((-np.abs(true[0] - true[1])[images], -share[images].round(9)))]


def _mean_confidence(selection: Selection) -> NDArray[np.float64]:
    return np.sum([found.confidence for found in selection.answers.values()], axis=0) / len(selection.records)


def image_grid(images: Images, chosen: Indices, selection: Selection, variants: Sequence[str], title: str) -> Figure:
    """Test images with their true class and, for each variant, its runs' most common prediction, marked ✓ or ✗.

    The percentage is the probability of that class, averaged over the variant's runs. With more than two variants,
    those with the same prediction share a line, with the average percentage.
    """
    shown = [int(index) for index in chosen[:SHOWN]]
    classes, labels, titles = selection.records[0].started.data.classes, selection.records[0].labels, []
    for index in shown:
        predictions: dict[int, dict[str, float]] = {}
        for variant in variants:
            found = selection.answers[variant]
            predicted = int(np.bincount(found.predicted[:, index], minlength=len(classes)).argmax())
            predictions.setdefault(predicted, {})[variant] = float(found.chance[index, predicted])
        true = int(labels[index])
        lines = [
            ("✓ " if predicted == true else "✗ ")
            + _line(names, classes[predicted], float(np.mean([chances[name] for name in names])), len(variants))
            for predicted, chances in predictions.items()
            for names in ([list(chances)] if len(variants) > 2 else [[name] for name in chances])
        ]
        titles.append("\n".join([classes[true], *lines]))
    return grid(images.take(shown).astype(np.float32) / np.float32(255), titles, title)


def _line(names: Sequence[str], predicted: str, chance: float, of: int) -> str:
    """For example "batch: cat 91%" or "3 of 4: cat 91%"; long names are cut, the percentage is not."""
    said = f": {shortened(predicted, LONGEST // 2)} {chance:.0%}"
    who = names[0] if len(names) == 1 else f"all {of}" if len(names) == of else f"{len(names)} of {of}"
    return shortened(who, LONGEST - 2 - len(said)) + said  # 2 for the mark before it
