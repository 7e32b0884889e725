"""One run, composed: data on the device, model, optimiser, range test, loop, checkpoints, journal, artifacts.

A run is a function of its `RunSpec` and the images alone: it seeds itself, pins its threads, reads no globals. Started
again after a crash or a signal it goes on from its last checkpoint and ends as if it had never stopped.
"""

import contextlib
import hashlib
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

import models
from harness import artifacts, checkpoint, journal
from harness.augment import Source
from harness.augment import source as build_source
from harness.data import Dataset, Split
from harness.evaluate import Normaliser, predict, score
from harness.facts import DataFacts, Diverged, EpochDone, Fact, Failed, Finished, LRFound, ModelFacts, Scores, Started
from harness.lr_find import find_lr
from harness.machine import environment, peak_memory_bytes, reset_peak_memory, system_metrics
from harness.optim import build_optimizer, build_scheduler
from harness.plan import steps_per_epoch
from harness.spec import Design, HarnessError, Recipe, RunSpec
from harness.train import NotFinite, State, StepDone, train

CHECKPOINT_SECONDS = 60.0


class Interrupted(Exception):
    """The run was asked to stop, and did so after saving a checkpoint."""


@dataclass(frozen=True)
class DeviceSplit:
    """A split on the device: images (N, H, W, C) uint8, labels (N,) int64."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class DeviceData:
    """A data set on the device; made once, used by every run of a plan."""

    dataset: Dataset
    train: DeviceSplit
    validation: DeviceSplit | None
    test: DeviceSplit


def to_device(dataset: Dataset, device: str) -> DeviceData:
    """Copy every split to the device."""

    def move(split: Split) -> DeviceSplit:
        return DeviceSplit(torch.tensor(split.images, device=device), torch.tensor(split.labels, device=device))

    validation = move(dataset.validation) if dataset.validation else None
    return DeviceData(dataset, move(dataset.train), validation, move(dataset.test))


def run_folder(root: Path, spec: RunSpec) -> Path:
    """Where a run keeps its journal, checkpoints and artifacts."""
    return root / "runs" / spec.experiment / spec.key


def ended(facts: list[Fact]) -> bool:
    """Whether a run is over for good: finished, or diverged (it would diverge again)."""
    return any(fact.kind in ("finished", "diverged") for fact in facts)


def model_options(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """The model's options: the recipe's, and channels, image size and classes from the data.

    Raises:
        HarnessError: the model needs square images and these are not.
    """
    shape = {"in_channels": dataset.channels, "image_size": dataset.height, "classes": len(dataset.classes)}
    known = models.options(recipe.model.name)
    if "image_size" in known and dataset.height != dataset.width:
        raise HarnessError(
            f"`model` {recipe.model.name!r} needs square images; {dataset.label!r} has {dataset.height}x"
            f"{dataset.width}; set data.image_size"
        )
    return {k: v for k, v in shape.items() if k in known} | recipe.model.options


def run(
    spec: RunSpec, design: Design, data: DeviceData, root: Path, stop: Callable[[], bool], workers: int = 0
) -> Iterator[StepDone | Fact]:
    """Train, evaluate and record one run; yields every step and every fact, each fact once it is in the journal.

    Args:
        stop: asked after every step; once true, a checkpoint is saved and `Interrupted` raised.
        workers: processes for augmentation when the library itself must do it.

    Raises:
        Interrupted: see `stop`.
        HarnessError: another process is at this run; the data or the code changed since its checkpoint.
    """
    folder = run_folder(root, spec)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            yield from _attempt(_Run(spec, design, data, root, folder, workers), stop)
    except Timeout as error:
        raise HarnessError(f"run {spec.key} is being made by another process; wait for it or stop it") from error


def _attempt(this: "_Run", stop: Callable[[], bool]) -> Iterator[StepDone | Fact]:
    try:
        for event in this.events():
            if not isinstance(event, StepDone):
                this.journal.append(event)
            yield event
            if isinstance(event, Finished):
                break
            if stop():
                this.save_checkpoint()
                raise Interrupted
            this.save_checkpoint_when_due()
    except NotFinite as error:
        diverged = Diverged(time=time.time(), step=error.step, where=error.where)
        this.journal.append(diverged)
        checkpoint.remove(this.folder)
        yield diverged
    except Interrupted:
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

    def __init__(self, spec: RunSpec, design: Design, data: DeviceData, root: Path, folder: Path, workers: int):
        self.spec, self.design, self.data, self.root, self.folder = spec, design, data, root, folder
        self.workers = workers
        self.journal = journal.Journal(folder)
        self.recipe = spec.recipe
        self.state: State | None = None
        self.saved_at = time.monotonic()

    def events(self) -> Iterator[StepDone | Fact]:
        """The run from where it stands to its end."""
        recipe, dataset, device = self.recipe, self.data.dataset, self.recipe.device
        reset_peak_memory(device)
        options, model, normaliser, source = _parts(self.spec, self.data, self.workers)
        summary = models.summarize(model, (dataset.channels, dataset.height, dataset.width))
        started = self._started(summary, source)
        self._compare_with_last_attempt(started)
        yield started
        lr, found = self._peak_lr(model, source, normaliser)
        if found:
            yield found
        self.state = self._state(model, lr)
        for event in train(
            self.state,
            source,
            self.data.train.labels,
            recipe,
            self.spec.seed,
            normaliser,
            lambda: self._evaluate(model, normaliser),
        ):
            yield event.model_copy(update={"system": system_metrics(device)}) if isinstance(event, EpochDone) else event
        yield self._finish(model, options, source, normaliser, models.format_summary(summary))

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
        if before is None:
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

    def _peak_lr(self, model: nn.Module, source: Source, normaliser: Normaliser) -> tuple[float, LRFound | None]:
        given = self.recipe.optimizer.lr
        if given != "find":
            return float(given), None
        recorded = next((fact for fact in journal.read(self.folder) if fact.kind == "lr_found"), None)
        found = recorded or find_lr(model, source, self.data.train.labels, self.recipe, self.spec.seed, normaliser)
        return found.suggestion, found

    def _state(self, model: nn.Module, lr: float) -> State:
        device = self.recipe.device
        optimizer = build_optimizer(model, self.recipe, lr)
        per_epoch = steps_per_epoch(len(self.data.train.labels), self.recipe.batch_size)
        scheduler = build_scheduler(optimizer, self.recipe.schedule, lr, per_epoch, self.recipe.epochs)
        state = State(
            model,
            optimizer,
            scheduler,
            sums=torch.zeros(2, device=device),
            first_bad=torch.tensor(torch.inf).to(device),
        )
        saved = checkpoint.load_latest(self.folder)
        if saved is not None:
            state.load_state_dict(saved)
        return state

    def _evaluate(self, model: nn.Module, normaliser: Normaliser) -> tuple[Scores | None, Scores]:
        validation, test = self.data.validation, self.data.test
        held_out = score(predict(model, validation.images, normaliser), validation.labels) if validation else None
        return held_out, score(predict(model, test.images, normaliser), test.labels)

    def _finish(
        self, model: nn.Module, options: dict[str, Any], source: Source, normaliser: Normaliser, summary: str
    ) -> Finished:
        facts = journal.read(self.folder)
        epochs = [fact for fact in facts if fact.kind == "epoch"]
        test = predict(model, self.data.test.images, normaliser).cpu().numpy()
        first = torch.arange(min(artifacts.SHOWN, len(self.data.train.labels)))
        augmented = next(iter(source.batches(0, [first])))
        artifacts.write(
            self.folder / "artifacts",
            self.spec,
            facts,
            self.data.dataset,
            model,
            options,
            test,
            augmented.cpu().numpy(),
            normaliser.as_seen,
            summary,
        )
        return Finished(
            time=time.time(),
            train_seconds=sum(epoch.train_seconds for epoch in epochs),
            evaluate_seconds=sum(epoch.evaluate_seconds for epoch in epochs),
            peak_memory_bytes=peak_memory_bytes(self.recipe.device),
            weights_sha256=weights_sha256(model),
        )


def sweep(spec: RunSpec, data: DeviceData, workers: int = 0) -> LRFound:
    """A run's LR range test alone.

    Raises:
        HarnessError: the sweep diverged or suggests nothing.
    """
    _, model, normaliser, source = _parts(spec, data, workers)
    try:
        return find_lr(model, source, data.train.labels, spec.recipe, spec.seed, normaliser)
    except NotFinite as error:
        raise HarnessError(f"`lr_finder` ended at a loss that is not finite (iteration {error.step})") from error


def _parts(spec: RunSpec, data: DeviceData, workers: int) -> tuple[dict[str, Any], nn.Module, Normaliser, Source]:
    """The model's options, the model, how images reach it and where they come from; seeds and threads are set here."""
    recipe, dataset = spec.recipe, data.dataset
    torch.set_num_threads(int(recipe.threads))
    torch.manual_seed(spec.seed)
    options = model_options(recipe, dataset)
    model = models.build(recipe.model.name, **options).to(recipe.device)
    model = model.to(memory_format=_memory_format(recipe))  # pyright: ignore[reportCallIssue] torch's stub lacks it
    normaliser = Normaliser.make(dataset.mean, dataset.std, recipe.device, recipe.memory_format, recipe.precision)
    source = build_source(
        recipe.augmentation, recipe.augment_backend, data.train.images, dataset.mean, spec.seed, workers
    )
    return options, model, normaliser, source


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 of every parameter and buffer, by name: equal only if the weights are, bit for bit."""
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(name.encode() + str(tensor.dtype).encode() + tensor.cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def _memory_format(recipe: Recipe) -> torch.memory_format:
    return torch.channels_last if recipe.memory_format == "channels_last" else torch.contiguous_format


def _one_line(error: BaseException, spec: RunSpec) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "not enough memory" in text:
        return f"out of memory: {text}; try a smaller batch_size than {spec.recipe.batch_size}"
    return text if isinstance(error, HarnessError) else f"{type(error).__name__}: {text}"
