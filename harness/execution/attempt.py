"""One attempt at a run: how it begins, is evaluated, saved and recorded, and how it ends.

`run` composes attempts with the loop that trains; what comes before the first step and after the last is here.
"""

import contextlib
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import models
from harness.artifacts import write as artifacts
from harness.plans.plan import steps_per_epoch
from harness.plans.spec import Design, RunSpec
from harness.records import checkpoint, journal
from harness.records.events import DataFacts, Diverged, Fact, Failed, Finished, LRFound, ModelFacts, Scores, Started
from harness.training.build import DeviceData, DeviceSplit, Parts, build, new_state, weights_sha256
from harness.training.device import (
    differences,
    environment,
    give_back_freed_memory,
    peak_memory_bytes,
    reset_peak_memory,
)
from harness.training.evaluate import ShouldStop, predict, score
from harness.training.loop import NotFinite, State
from harness.training.lr_finder import find_lr
from harness.training.memory import batch_that_fits
from harness.values import HarnessError, first_line

CHECKPOINT_SECONDS = 60.0


class Attempt:
    """The parts of one attempt at a run; `begin` makes network and state."""

    parts: Parts
    summary: models.ModelSummary

    def __init__(
        self, spec: RunSpec, design: Design, data: DeviceData, root: Path, folder: Path, stop: ShouldStop, workers: int
    ):
        self.spec, self.design, self.data, self.root, self.folder = spec, design, data, root, folder
        self.stop, self.workers = stop, workers
        self.journal = journal.Journal(folder)
        self.recipe = spec.recipe
        self.at_once = 1
        """How many runs train as one with this one, itself counted."""
        self._state: State | None = None
        self._saved_at = time.monotonic()

    @property
    def state(self) -> State:
        assert self._state is not None, "begin comes first"
        return self._state

    def begin(self) -> Iterator[Fact]:
        """Up to the first step.

        Raises:
            HarnessError: the data, the code or the machine changed since the run's checkpoint; this is recorded as any
                failure is.
        """
        dataset, images = self.data.dataset, len(self.data.train.labels)
        reset_peak_memory(self.recipe.device)
        self.parts = build(self.spec, self.data, self.workers)
        self.summary = models.summarize(self.parts.model, (dataset.channels, dataset.height, dataset.width))
        started = self._started()
        self._compare_with_last_attempt(started)
        yield started
        lr, found = self._peak_lr()
        if found:
            yield found
        self._state = new_state(self.parts.model, self.recipe, lr, images)

    def load_checkpoint(self, at_most: int | None = None) -> None:
        """Go on from the newest whole checkpoint, if there is one (after so many steps at most)."""
        saved = checkpoint.load_latest(self.folder, at_most)
        if saved is not None:
            self.state.load_state_dict(saved)

    def checkpoint_due(self) -> bool:
        return time.monotonic() - self._saved_at > CHECKPOINT_SECONDS

    def save_checkpoint(self) -> None:
        if self._state is not None:
            checkpoint.save(self.folder, self._state.state_dict(), self._state.step)
        self._saved_at = time.monotonic()

    def evaluate(self) -> tuple[Scores | None, Scores]:
        """The network as it is now on the validation split, if there is one, and on the test split."""
        give_back_freed_memory()
        validation = self.data.validation
        return self._score(validation) if validation else None, self._score(self.data.test)

    def finish(self) -> Finished:
        """Everything after the last evaluation: predictions, weights and figures, in the run's folder."""
        facts, recipe = journal.read(self.folder), self.recipe
        epochs = [fact for fact in facts if fact.kind == "epoch"]
        test = self._predict(self.data.test).cpu().numpy()
        first = torch.arange(min(artifacts.SHOWN, len(self.data.train.labels)))
        augmented = next(iter(self.parts.source.batches(0, [first])))
        artifacts.write(
            self.folder / "artifacts",
            self.spec,
            facts,
            self.data.dataset,
            self.state.network,
            self.parts.options,
            test,
            augmented.cpu().numpy(),
            self.parts.normaliser.as_seen,
            models.format_summary(self.summary),
            self.stop,
        )
        return Finished(
            time=time.time(),
            train_seconds=sum(epoch.train_seconds for epoch in epochs),
            evaluate_seconds=sum(epoch.evaluate_seconds for epoch in epochs),
            peak_memory_bytes=peak_memory_bytes(recipe.device),
            weights_sha256=weights_sha256(self.state.network),
        )

    def diverged(self, error: NotFinite) -> Diverged:
        """Recorded; it would diverge again, so its checkpoints go."""
        fact = Diverged(time=time.time(), step=error.step, where=error.where)
        self.journal.append(fact)
        checkpoint.remove(self.folder)
        return fact

    def failed(self, error: Exception) -> Failed:
        """Recorded, with the traceback in a file; made again, the run goes on from its last checkpoint."""
        with contextlib.suppress(OSError):
            (self.folder / "traceback.txt").write_text("".join(traceback.format_exception(error)))
        fact = Failed(time=time.time(), error=self._one_line(error))
        self.journal.append(fact)
        return fact

    def _started(self) -> Started:
        dataset, summary, source = self.data.dataset, self.summary, self.parts.source
        return Started(
            time=time.time(),
            spec=self.spec,
            design=self.design,
            data=DataFacts(
                name=dataset.name,
                label=dataset.label,
                checksum=dataset.checksum,
                classes=dataset.classes,
                shape=(dataset.channels, dataset.height, dataset.width),
                mean=dataset.mean,
                std=dataset.std,
                train_images=len(self.data.train.labels),
                validation_images=len(self.data.validation.labels) if self.data.validation else 0,
                test_images=len(self.data.test.labels),
            ),
            model=ModelFacts(
                parameters=summary.parameters,
                multiply_adds=summary.multiply_adds,
                receptive_field=summary.receptive_field,
            ),
            steps_per_epoch=steps_per_epoch(len(self.data.train.labels), self.recipe.batch_size),
            augmentation=f"{source.backend}: {source.reason}",
            environment=environment(self.root, self.recipe.device),
        )

    def _compare_with_last_attempt(self, now: Started) -> None:
        """A checkpoint continues only what it was made from, where it was made: a report compares runs by processor,
        device and versions, so a run has one of each. Without a checkpoint a changed run begins anew."""
        before = next((fact for fact in journal.read(self.folder) if fact.kind == "started"), None)
        if before is None:  # a journal begins with its run's beginning: what failed before that is no part of it
            self.journal = journal.Journal.anew(self.folder)
            return
        changed = changed_since(before, now.data.checksum, now.environment)
        if changed and checkpoint.exists(self.folder):
            raise HarnessError(
                f"run {self.spec.key} cannot go on from its checkpoint: {changed}; put that back, or remove "
                f"{self.folder.relative_to(self.root)} to begin anew"
            )
        if changed:
            self.journal = journal.Journal.anew(self.folder)

    def _peak_lr(self) -> tuple[float, LRFound | None]:
        given = self.recipe.optimizer.lr
        if given != "find":
            return float(given), None
        recorded = next((fact for fact in journal.read(self.folder) if fact.kind == "lr_found"), None)
        found = recorded or _sweep(self.spec, self.data, self.parts, self.stop)
        return found.suggestion, found

    def _score(self, split: DeviceSplit) -> Scores:
        return score(self._predict(split), split.labels)

    def _predict(self, split: DeviceSplit) -> Tensor:
        flip = self.recipe.test_time_flip
        return predict(self.state.network, split.images, self.parts.normaliser, self.stop, flip)

    def _one_line(self, error: Exception) -> str:
        text = first_line(error)
        if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "not enough memory" in text:
            fewer = " or fewer SEEDS at once" if self.recipe.step == "fused" else ""
            return f"out of memory: {text}; {self._what_would_fit()}{fewer}"
        return text if isinstance(error, HarnessError) else f"{type(error).__name__}: {text}"

    def _what_would_fit(self) -> str:
        try:
            fits = batch_that_fits(self.recipe, self.data.dataset, self.at_once)
        except Exception:  # there may be no memory even to find out, or no such model
            fits = 0
        asked = f"batch_size is {self.recipe.batch_size}"
        return f"{asked}, {fits} should fit: batch_size={fits}" if fits else f"{asked}, take a smaller one"


def changed_since(before: Started, checksum: str, environment: Mapping[str, Any]) -> str:
    """What a run began with that is otherwise now, as in "code c0de → beef, torch 2.11.0 → 2.14.1"; "" if nothing is.

    Args:
        checksum: of the images as they are now.
        environment: as `machine.environment` has it now.
    """
    found = differences(before.environment, environment)
    if before.data.checksum != checksum:
        found["data"] = (before.data.checksum, checksum)
    return ", ".join(f"{name} {was} → {now}" for name, (was, now) in found.items() if name not in ("commit", "dirty"))


def sweep(spec: RunSpec, data: DeviceData, workers: int = 0) -> LRFound:
    """A run's LR range test alone.

    Raises:
        HarnessError: the sweep diverged or suggests nothing.
    """
    try:
        return _sweep(spec, data, build(spec, data, workers), stop=lambda: False)
    except NotFinite as error:
        raise HarnessError(f"`lr_finder` ended at a loss that is not finite (iteration {error.step})") from error


def _sweep(spec: RunSpec, data: DeviceData, parts: Parts, stop: ShouldStop) -> LRFound:
    return find_lr(parts.model, parts.source, data.train.labels, spec.recipe, spec.seed, parts.normaliser, stop)
