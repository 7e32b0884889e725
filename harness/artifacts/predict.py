"""What a trained network says of images that nobody has labelled: a table, and the images with their classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.predictions import probabilities
from harness.artifacts.weights import Trained
from harness.data.decode import decode_folder
from harness.data.folders import IMAGE_ENDINGS, File, Folder
from harness.values import HarnessError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHOWN = 64
"""Images on the contact sheet."""
_CHUNK = 512
"""Images in memory at once."""
_LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601, as PIL has it."""


@dataclass(frozen=True)
class Predictions:
    """Of the files of a folder, in the order of their names."""

    files: tuple[str, ...]
    """Relative to the folder."""
    probabilities: NDArray[np.float64]
    """(files, classes)."""
    classes: tuple[str, ...]
    shown: NDArray[np.uint8]
    """The first SHOWN images as the network was given them: (N, H, W, C)."""
    remarks: tuple[str, ...]
    """What decoding changed, each a few words."""

    @property
    def predicted(self) -> list[str]:
        return [self.classes[at] for at in self.probabilities.argmax(1)]


def predict_folder(trained: Trained, folder: Path, size: int, channels: int) -> Predictions:
    """Decode every image below a folder, bring it to the size and the channels that the network knows, and ask it.

    Args:
        size: height and width in pixels.
        channels: 1 for grey images, 3 for colour.

    Raises:
        HarnessError: no such folder, no image in it, or one that cannot be decoded.
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
    """A row a file: its class and the two highest probabilities."""
    import pandas as pd

    order = np.argsort(-made.probabilities, axis=1, kind="stable")[:, :2]
    chances = np.take_along_axis(made.probabilities, order, axis=1)
    return pd.DataFrame(
        {
            "file": made.files,
            "predicted": [made.classes[at] for at in order[:, 0]],
            "confidence": chances[:, 0].round(4),
            "second": [made.classes[at] for at in order[:, 1]],
            "second_confidence": chances[:, 1].round(4),
        }
    )


def contact_sheet(made: Predictions) -> "Figure":
    """The first SHOWN images, each under its class and how sure the network is."""
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
            said.append("images in colour were made grey")
        yield images, said
