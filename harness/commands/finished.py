"""Find a finished run and its network by the run's key or MLflow id."""

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.commands.reproduce import recorded
from harness.records import arrays
from harness.records.events import DataFacts, Event, Started
from harness.tracking.tracker import Tracker
from harness.values import HarnessError, first_line


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its events, its network, and the description of its images."""

    key: str
    events: list[Event]
    weights: Path
    predictions: Path

    @property
    def data(self) -> DataFacts:
        started = next(event for event in self.events if isinstance(event, Started))
        return started.data

    def answers(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Test logits, (test images, classes), and labels, (test images,).

        Raises:
            HarnessError: the file is damaged, or holds anything else than the run recorded.
        """
        images, classes = self.data.test_images, len(self.data.classes)
        try:
            found = arrays.read(self.predictions, {"logits": (images, classes), "labels": (images,)})
        except HarnessError:
            raise
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise HarnessError(
                f"{self.predictions} is damaged ({first_line(error)}); make sync puts it back if MLflow has it"
            ) from error
        return found["logits"].astype(np.float32), found["labels"].astype(np.int64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        channels, height, width = self.data.shape
        return height, width, channels


def find(name: str, root: Path) -> FinishedRun:
    """Find a finished run by its key in runs/ or its id in MLflow.

    Raises:
        HarnessError: there is no such run, it did not finish, or its weights are missing.
    """
    events = recorded(name, root)
    started = next(event for event in events if isinstance(event, Started))
    local = next((root / "runs").glob(f"*/{name}/artifacts"), None)
    files = [_file(each, local, name, root) for each in ("weights.safetensors", "predictions.npz")]
    key = name if local else started.spec.key
    return FinishedRun(key, events, *files)


def _file(file: str, local: Path | None, name: str, root: Path) -> Path:
    if local is None:
        return Tracker(root).artifact(name, file)
    if not (local / file).is_file():
        raise HarnessError(f"{(local / file).relative_to(root)} is missing; make sync puts it back if MLflow has it")
    return local / file


def out_folder(root: Path, verb: str, key: str) -> Path:
    """The output folder of a command for a run: `reports/out/<verb>-<run>`."""
    return root / "reports" / "out" / f"{verb}-{re.sub(r'[^A-Za-z0-9_-]+', '-', key)}"
