"""A job: one run that is to be made, where its files go, and how its failures are recorded."""

import contextlib
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.plans.experiment import Design
from harness.plans.spec import Circumstances, RunSpec
from harness.records import checkpoint
from harness.records.events import Diverged, Failed, LRFound
from harness.records.journal import Journal
from harness.training.build import DeviceData
from harness.training.evaluate import ShouldStop
from harness.training.loop import NotFinite
from harness.training.memory import batch_that_fits
from harness.values import HarnessError, first_line


@dataclass(frozen=True)
class Job:
    """A run to make: its specification, circumstances and data, and the folder and journal it is recorded in."""

    spec: RunSpec
    circumstances: Circumstances
    design: Design
    data: DeviceData
    root: Path
    folder: Path
    journal: Journal
    stop: ShouldStop
    workers: int
    """Worker processes for augmentation, used only if albumentations itself applies the transforms."""
    at_once: int
    """Number of runs trained together in one stack, including this one."""
    found: LRFound | None = None
    """The shared LR range test, if this run is the one that made it."""
    allowed: Sequence[str] = ()
    """Dotted fields, such as "environment.processor", that may have changed since the run's checkpoint."""

    def diverged(self, error: NotFinite) -> Diverged:
        """Record that the run diverged and remove its checkpoints, since it would diverge again."""
        event = Diverged(time=time.time(), step=error.step, where=error.where)
        self.journal.append(event)
        checkpoint.remove(self.folder)
        return event

    def failed(self, error: Exception) -> Failed:
        """Record an error and write its traceback to a file; the next attempt resumes from the last checkpoint."""
        with contextlib.suppress(OSError):
            (self.folder / "traceback.txt").write_text("".join(traceback.format_exception(error)))
        event = Failed(time=time.time(), error=self._one_line(error))
        self.journal.append(event)
        return event

    def _one_line(self, error: Exception) -> str:
        text = first_line(error)
        if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "not enough memory" in text:
            fewer = " or fewer SEEDS at once" if self.at_once > 1 else ""
            return f"out of memory: {text}; {self._what_would_fit()}{fewer}"
        return text if isinstance(error, HarnessError) else f"{type(error).__name__}: {text}"

    def _what_would_fit(self) -> str:
        recipe = self.spec.recipe
        try:
            fits = batch_that_fits(recipe, self.circumstances, self.data.dataset, self.at_once)
        except Exception:  # not enough memory even for the estimate, or the model cannot be built
            fits = 0
        asked = f"batch_size is {recipe.batch_size}"
        return f"{asked}, {fits} should fit: batch_size={fits}" if fits else f"{asked}, take a smaller one"
