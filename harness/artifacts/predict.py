"""Predictions of a trained network for unlabelled images: a table, and a contact sheet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.predictions import probabilities
from harness.artifacts.spreadsheet import spelt_out
from harness.artifacts.weights import Trained
from harness.data.decode import decode_folder
from harness.data.folders import IMAGE_ENDINGS, File, Folder
from harness.values import HarnessError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHOWN = 64
"""Maximum number of images on the contact sheet."""
_CHUNK = 512
"""Number of images decoded at a time, to limit memory."""
_LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in grey images (ITU-R BT.601, as in PIL)."""


@dataclass(frozen=True)
class Predictions:
    """Predictions for the files of a folder, sorted by name."""

    files: tuple[str, ...]
    """File paths relative to the folder."""
    probabilities: NDArray[np.float64]
    """(files, classes)."""
    classes: tuple[str, ...]
    shown: NDArray[np.uint8]
    """The first SHOWN images as the network received them, shape (N, H, W, C)."""
    remarks: tuple[str, ...]
    """Short phrases about changes that decoding made to the images."""

    @property
    def predicted(self) -> list[str]:
        return [self.classes[at] for at in self.probabilities.argmax(1)]


def predict_folder(trained: Trained, folder: Path, size: int, channels: int) -> Predictions:
    """Decode all images below a folder, convert them to the network's size and channels, and classify them.

    Args:
        size: height and width in pixels.
        channels: 1 for grey images, 3 for colour images.

    Raises:
        HarnessError: the folder does not exist or contains no image, or an image cannot be decoded.
    """
    names = _names(folder)
    chances, shown, remarks = list[NDArray[np.float64]](), list[NDArray[np.uint8]](), dict[str, None]()
    for chunk, said in _decoded(folder, names, size, channels):
        remarks |= dict.fromkeys(said)
        chances.append(probabilities(trained.logits(chunk)))
        if sum(map(len, shown)) < SHOWN:
            shown.append(chunk)
    together = np.concatenate(chances)
    return Predictions(tuple(names), together, trained.classes, np.concatenate(shown)[:SHOWN], tuple(remarks))


def table(made: Predictions) -> "pd.DataFrame":
    """A row per file with its predicted class and the two highest probabilities."""
    import pandas as pd

    order = np.argsort(-made.probabilities, axis=1, kind="stable")[:, :2]
    chances = np.take_along_axis(made.probabilities, order, axis=1)
    return pd.DataFrame(
        {
            "file": [spelt_out(name) for name in made.files],
            "predicted": [made.classes[at] for at in order[:, 0]],
            "confidence": chances[:, 0].round(4),
            "second": [made.classes[at] for at in order[:, 1]],
            "second_confidence": chances[:, 1].round(4),
        }
    )


def contact_sheet(made: Predictions) -> "Figure":
    """The first SHOWN images, each below its predicted class and probability."""
    from harness.artifacts import figures

    sure = made.probabilities.max(1)
    titles = [f"{name} {chance:.0%}" for name, chance in zip(made.predicted, sure, strict=True)][: len(made.shown)]
    more = f", the first {SHOWN} of {len(made.files):,}" if len(made.files) > SHOWN else ""
    return figures.grid((made.shown / 255).astype(np.float32), titles, f"Predicted classes{more}")


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise HarnessError(f"IMAGES must be a folder of image files; {str(folder)!r} is none")
    found = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(IMAGE_ENDINGS) and path.is_file())
    if not found:
        raise HarnessError(f"IMAGES {str(folder)!r} holds no {', '.join(IMAGE_ENDINGS)} file; name another folder")
    return [path.relative_to(folder).as_posix() for path in found]


def _decoded(
    folder: Path, names: Sequence[str], size: int, channels: int
) -> Iterator[tuple[NDArray[np.uint8], list[str]]]:
    for start in range(0, len(names), _CHUNK):
        files = tuple(File(name, 0, (folder / name).stat().st_size, 0) for name in names[start : start + _CHUNK])
        try:
            decoded = decode_folder(Folder(folder, ("",), files, (), ()), size)
        except HarnessError as error:
            raise HarnessError(str(error).replace("`data.name`", "IMAGES")) from error
        images, said = decoded.train.images, [*decoded.remarks]
        if images.shape[3] < channels:
            images = np.repeat(images, channels, axis=3)
        elif images.shape[3] > channels:
            images = np.rint(images @ _LUMA).astype(np.uint8)[..., None]
            said.append("colour images were converted to grey")
        yield images, said
