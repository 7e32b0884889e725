"""A recorded run, parsed from its journal; reports read runs in this form. Imports neither MLflow nor torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.records import arrays
from harness.records.events import Diverged, EpochDone, Event, Failed, Finished, LRFound, Started, segments
from harness.records.packed import unpack
from harness.values import HarnessError


@dataclass(frozen=True)
class Record:
    """One run that has ended: finished, diverged or failed."""

    id: str
    """Its MLflow run id."""
    key: str
    """The run key that it was recorded under."""
    events: tuple[Event, ...]
    predictions: Path | None
    """The .npz file with its test logits and labels; None for a run that did not finish."""

    @cached_property
    def started(self) -> Started:
        first = next((event for event in self.events if isinstance(event, Started)), None)  # a failure may precede it
        if first is None:
            raise HarnessError(f"run {self.id} has no beginning in its journal; make it again")
        return first

    @cached_property
    def segments(self) -> list[Started]:
        """One `Started` event per part of the run; several if it resumed under other circumstances."""
        return segments(self.events) if self.started else []

    @property
    def variant(self) -> str:
        return self.started.spec.variant

    @property
    def seed(self) -> int:
        return self.started.spec.seed

    @cached_property
    def epochs(self) -> Sequence[EpochDone]:
        return [event for event in self.events if isinstance(event, EpochDone)]

    @cached_property
    def lr_found(self) -> LRFound | None:
        return next((event for event in self.events if isinstance(event, LRFound)), None)

    @cached_property
    def finished(self) -> Finished | None:
        """The last event of a complete run: it finished and all epochs of its recipe are recorded; otherwise None."""
        end = next((event for event in reversed(self.events) if isinstance(event, Finished)), None)
        whole = [done.epoch for done in self.epochs] == list(range(1, self.started.spec.recipe.epochs + 1))
        return end if end and whole else None

    @cached_property
    def problem(self) -> str | None:
        """The reason why the run has no result; None if it has one."""
        if self.finished:
            return None
        end = self.events[-1]
        if isinstance(end, Diverged):
            return f"diverged: the loss is not finite at step {end.step} ({end.where})"
        return f"failed: {end.error}" if isinstance(end, Failed) else "incomplete: epochs are missing"

    @property
    def logits(self) -> NDArray[np.float32]:
        """Test logits, shape (test images, classes); not cached, because those of a thousand runs would fill memory."""
        kept = self._arrays["logits"]
        return unpack(kept.astype(np.uint8)) if kept.dtype == np.uint8 else kept.astype(np.float32)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Indices of the true classes, shape (test images,)."""
        return self._arrays["labels"].astype(np.int64)

    @cached_property
    def predicted(self) -> NDArray[np.unsignedinteger]:
        """The index of each test image's largest logit, shape (test images,), in the smallest sufficient type."""
        logits = self.logits
        return logits.argmax(1).astype(np.min_scalar_type(logits.shape[1] - 1))

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """True for each correctly classified test image, shape (test images,)."""
        return self.predicted == self.labels

    @property
    def _arrays(self) -> Mapping[str, NDArray[np.generic]]:
        assert self.predictions is not None
        found, data = self.predictions.stat(), self.started.data
        return _read(self.predictions, data.test_images, len(data.classes), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1)
def _read(file: Path, images: int, classes: int, size: int, changed: int) -> Mapping[str, NDArray[np.generic]]:
    """The arrays of a file; the last file is cached. `size` and `changed` identify its content."""
    return arrays.read(file, {"logits": (images, classes), "labels": (images,)})
