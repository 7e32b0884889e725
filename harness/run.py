"""One run, composed: data on the device, model, optimiser, range test, loop, checkpoints, journal, artifacts.

A run is a function of its `RunSpec` and the images alone: it seeds itself, pins its threads, reads no globals. Started
again after a crash or a signal it goes on from its last checkpoint and ends as if it had never stopped.
"""

import contextlib
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

import models
from harness import artifacts, checkpoint, journal
from harness.augment import Source
from harness.evaluate import Interrupted, ShouldStop, predict, score
from harness.facts import DataFacts, Diverged, EpochDone, Fact, Failed, Finished, LRFound, ModelFacts, Scores, Started
from harness.lr_find import find_lr
from harness.machine import environment, peak_memory_bytes, reset_peak_memory, system_metrics
from harness.parts import DeviceData, DeviceSplit, Parts, build, new_state, weights_sha256
from harness.plan import steps_per_epoch
from harness.spec import Design, HarnessError, RunSpec
from harness.train import NotFinite, State, StepDone, train

CHECKPOINT_SECONDS = 60.0


def run_folder(root: Path, spec: RunSpec) -> Path:
    """Where a run keeps its journal, checkpoints and artifacts."""
    return root / "runs" / spec.experiment / spec.key


def ended(facts: list[Fact]) -> bool:
    """Whether a run is over for good: finished, or diverged (it would diverge again)."""
    return any(fact.kind in ("finished", "diverged") for fact in facts)


def run(
    spec: RunSpec,
    design: Design,
    data: DeviceData,
    root: Path,
    stop: ShouldStop,
    workers: int = 0,
    folder: Path | None = None,
) -> Iterator[StepDone | Fact]:
    """Train, evaluate and record one run; yields every step and every fact, each fact once it is in the journal.

    Args:
        stop: asked after every step, every batch of an evaluation and every figure; once true, a checkpoint is saved
            and `Interrupted` raised.
        workers: processes for augmentation when the library itself must do it.
        folder: where, if not in the run's own folder.

    Raises:
        Interrupted: see `stop`.
        HarnessError: another process is at this run; the data or the code changed since its checkpoint.
    """
    folder = folder or run_folder(root, spec)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=1):  # a delivery looks for an instant whether it is held
            yield from _attempt(_Run(spec, design, data, root, folder, stop, workers))
    except Timeout as error:
        raise HarnessError(f"run {spec.key} is being made by another process; wait for it or stop it") from error


def _attempt(this: "_Run") -> Iterator[StepDone | Fact]:
    try:
        for event in this.events():
            if not isinstance(event, StepDone):
                this.journal.append(event)
            yield event
            if isinstance(event, Finished):
                break
            if this.stop():
                raise Interrupted
            this.save_checkpoint_when_due()
    except NotFinite as error:
        diverged = Diverged(time=time.time(), step=error.step, where=error.where)
        this.journal.append(diverged)
        checkpoint.remove(this.folder)
        yield diverged
    except Interrupted:
        this.save_checkpoint()
        raise
    except Exception as error:  # whatever a model, a transform or the machine raises is a fact of this run alone
        with contextlib.suppress(OSError):
            (this.folder / "traceback.txt").write_text(traceback.format_exc())
        failed = Failed(time=time.time(), error=_one_line(error, this.spec))
        this.journal.append(failed)
        yield failed
    else:
        checkpoint.remove(this.folder)


class _Run:
    """The parts of one attempt at a run."""

    def __init__(
        self, spec: RunSpec, design: Design, data: DeviceData, root: Path, folder: Path, stop: ShouldStop, workers: int
    ):
        self.spec, self.design, self.data, self.root, self.folder = spec, design, data, root, folder
        self.stop, self.workers = stop, workers
        self.journal = journal.Journal(folder)
        self.recipe = spec.recipe
        self.state: State | None = None
        self.saved_at = time.monotonic()

    def events(self) -> Iterator[StepDone | Fact]:
        """The run from where it stands to its end."""
        recipe, dataset, device = self.recipe, self.data.dataset, self.recipe.device
        reset_peak_memory(device)
        parts = build(self.spec, self.data, self.workers)
        summary = models.summarize(parts.model, (dataset.channels, dataset.height, dataset.width))
        started = self._started(summary, parts.source)
        self._compare_with_last_attempt(started)
        yield started
        lr, found = self._peak_lr(parts)
        if found:
            yield found
        self.state = new_state(parts.model, recipe, lr, len(self.data.train.labels))
        saved = checkpoint.load_latest(self.folder)
        if saved is not None:
            self.state.load_state_dict(saved)
        for event in train(
            self.state,
            parts.source,
            self.data.train.labels,
            recipe,
            self.spec.seed,
            parts.normaliser,
            lambda: self._evaluate(parts),
        ):
            yield event.model_copy(update={"system": system_metrics(device)}) if isinstance(event, EpochDone) else event
        yield self._finish(parts, models.format_summary(summary))

    def save_checkpoint_when_due(self) -> None:
        if time.monotonic() - self.saved_at > CHECKPOINT_SECONDS:
            self.save_checkpoint()

    def save_checkpoint(self) -> None:
        if self.state is not None:
            checkpoint.save(self.folder, self.state.state_dict(), self.state.step)
        self.saved_at = time.monotonic()

    def _started(self, summary: models.ModelSummary, source: Source) -> Started:
        dataset = self.data.dataset
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
        """A checkpoint continues only what it was made from; without one a changed run begins anew."""
        before = next((fact for fact in journal.read(self.folder) if fact.kind == "started"), None)
        if before is None:  # a journal begins with its run's beginning: what failed before that is no part of it
            self.journal = journal.Journal.anew(self.folder)
            return
        changes = {
            "data": (before.data.checksum, now.data.checksum),
            "code": (before.environment["code"], now.environment["code"]),
            "package versions": (before.environment["versions"], now.environment["versions"]),
        }
        changed = {what: pair for what, pair in changes.items() if pair[0] != pair[1]}
        if changed and checkpoint.exists(self.folder):
            said = ", ".join(f"its {what} changed ({then} → {current})" for what, (then, current) in changed.items())
            raise HarnessError(
                f"run {self.spec.key} cannot go on from its checkpoint: {said}; put that back, or remove "
                f"{self.folder.relative_to(self.root)} to begin anew"
            )
        if changed:
            self.journal = journal.Journal.anew(self.folder)

    def _peak_lr(self, parts: Parts) -> tuple[float, LRFound | None]:
        given = self.recipe.optimizer.lr
        if given != "find":
            return float(given), None
        recorded = next((fact for fact in journal.read(self.folder) if fact.kind == "lr_found"), None)
        found = recorded or _sweep(self.spec, self.data, parts, self.stop)
        return found.suggestion, found

    def _evaluate(self, parts: Parts) -> tuple[Scores | None, Scores]:
        validation = self.data.validation
        return self._score(parts, validation) if validation else None, self._score(parts, self.data.test)

    def _score(self, parts: Parts, split: DeviceSplit) -> Scores:
        return score(self._predict(parts, split), split.labels)

    def _predict(self, parts: Parts, split: DeviceSplit) -> Tensor:
        assert self.state is not None
        flip = self.recipe.test_time_flip
        return predict(self.state.network, split.images, parts.normaliser, self.stop, flip)

    def _finish(self, parts: Parts, summary: str) -> Finished:
        facts = journal.read(self.folder)
        epochs = [fact for fact in facts if fact.kind == "epoch"]
        assert self.state is not None
        test = self._predict(parts, self.data.test).cpu().numpy()
        first = torch.arange(min(artifacts.SHOWN, len(self.data.train.labels)))
        augmented = next(iter(parts.source.batches(0, [first])))
        artifacts.write(
            self.folder / "artifacts",
            self.spec,
            facts,
            self.data.dataset,
            self.state.network,
            parts.options,
            test,
            augmented.cpu().numpy(),
            parts.normaliser.as_seen,
            summary,
            self.stop,
        )
        return Finished(
            time=time.time(),
            train_seconds=sum(epoch.train_seconds for epoch in epochs),
            evaluate_seconds=sum(epoch.evaluate_seconds for epoch in epochs),
            peak_memory_bytes=peak_memory_bytes(self.recipe.device),
            weights_sha256=weights_sha256(self.state.network),
        )


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


def _one_line(error: BaseException, spec: RunSpec) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "not enough memory" in text:
        return f"out of memory: {text}; try a smaller batch_size than {spec.recipe.batch_size}"
    return text if isinstance(error, HarnessError) else f"{type(error).__name__}: {text}"
