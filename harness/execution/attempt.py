"""One attempt at a run: start or resumption from a checkpoint, evaluation, checkpoints, and the final artifacts.

`begin` turns a `Job` into an `Attempt`, which holds the network, its optimiser and its data. `execution/run.py` trains
attempts with the loop.
"""

import time
from collections.abc import Generator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

import models
from harness.artifacts import write
from harness.artifacts.weights import weights_sha256
from harness.execution.changes import changed_since, environment, in_words, recorded_as
from harness.execution.job import Job
from harness.plans.differences import within
from harness.plans.plan import steps_per_epoch
from harness.plans.spec import Circumstances, Recipe, RunSpec
from harness.records import checkpoint
from harness.records.events import (
    DataFacts,
    Event,
    Finished,
    LRFound,
    ModelFacts,
    Resumed,
    Scores,
    Started,
    segments,
)
from harness.training.build import DeviceData, DeviceSplit, Parts, build, evenly, new_state
from harness.training.device import give_back_freed_memory, peak_memory_bytes, reset_peak_memory
from harness.training.evaluate import ShouldStop, predict, score
from harness.training.loop import NotFinite, State
from harness.training.lr_finder import find_lr
from harness.values import HarnessError, first_line


@dataclass(frozen=True)
class Attempt:
    """A job that has begun: its network, optimiser state and transforms."""

    job: Job
    parts: Parts
    summary: models.ModelSummary
    state: State

    def load_checkpoint(self, at_most: int) -> None:
        """Resume from the newest intact checkpoint that the journal covers, if there is one.

        If the journal has lost epochs, an earlier checkpoint is taken and these epochs are trained again.

        Args:
            at_most: ignore checkpoints after this many steps.
        """
        per_epoch = steps_per_epoch(len(self.job.data.train.labels), self._recipe.batch_size)
        reached = (len(self.job.journal.epochs) + 1) * per_epoch
        while saved := checkpoint.load_latest(self.job.folder, self.job.spec.key, at_most):
            if saved["step"] < reached or (saved["step"] == reached and saved["lrs"]):  # trained, not yet evaluated
                self.state.load_state_dict(saved)
                return
            at_most = saved["step"] - 1

    def save_checkpoint(self) -> None:
        """Save the current training state."""
        if self.state.sums.is_cuda:  # steps still queued on the GPU count as training time
            clock = time.perf_counter()
            torch.cuda.synchronize(self.state.sums.device)
            self.state.seconds += (time.perf_counter() - clock) / self.job.at_once
        checkpoint.save(self.job.folder, self.state.state_dict(), self.state.step, self.job.spec.key)

    def evaluate(self) -> tuple[Scores | None, Scores]:
        """Scores of the current network on the validation split (None if there is none) and on the test split."""
        give_back_freed_memory()
        validation = self.job.data.validation
        return self._score(validation) if validation else None, self._score(self.job.data.test)

    def finish(self) -> Finished:
        """Write predictions, weights and figures to the run's folder after the last evaluation."""
        job, data = self.job, self.job.data
        test = self._predict(data.test).cpu().numpy()
        augmented = next(iter(self.parts.source.batches(0, [evenly(len(data.train.labels), write.SHOWN)])))
        written = write.write_artifacts(
            job.folder / "artifacts",
            write.Leaves(
                spec=job.spec,
                events=job.journal.events,
                dataset=data.dataset,
                network=self.state.network,
                options=self.parts.options,
                logits=test,
                augmented=augmented.cpu().numpy(),
                normaliser=self.parts.normaliser,
                summary=models.format_summary(self.summary),
            ),
            job.stop,
        )
        return Finished(
            time=time.time(),
            train_seconds=sum(epoch.train_seconds for epoch in job.journal.epochs),
            evaluate_seconds=sum(epoch.evaluate_seconds for epoch in job.journal.epochs),
            peak_memory_bytes=peak_memory_bytes(job.circumstances.device),
            weights_sha256=weights_sha256(self.state.network),
            artifacts=written,
        )

    @property
    def _recipe(self) -> Recipe:
        return self.job.spec.recipe

    def _score(self, split: DeviceSplit) -> Scores:
        return score(self._predict(split), split.labels)

    def _predict(self, split: DeviceSplit) -> Tensor:
        flip = self._recipe.test_time_flip
        return predict(self.state.network, split.images, self.parts.normaliser, self.job.stop, flip)


def begin(job: Job) -> Generator[tuple[Job, Event], None, Attempt]:
    """Prepare a job up to its first training step.

    Yields:
        The job with each event on the way: Started, then Resumed and LRFound where they apply.

    Returns:
        The attempt, ready to train.

    Raises:
        HarnessError: the data, the code, the machine or the circumstances changed since the run's checkpoint.
        NotFinite: a loss of the LR range test was infinite or NaN.
    """
    reset_peak_memory(job.circumstances.device)
    dataset, recipe = job.data.dataset, job.spec.recipe
    workers = max(1, job.workers // job.at_once) if job.workers else 0
    parts = build(job.spec, job.circumstances, job.data, workers)
    summary = models.summarize(parts.model, (dataset.channels, dataset.height, dataset.width))
    started = _started(job, parts, summary)
    resumed = _continue_or_clear(job, started)
    yield job, started
    if resumed:
        yield job, resumed
    lr = recipe.optimizer.lr
    if job.found:
        yield job, job.found
    if lr == "find":
        recorded = next((event for event in job.journal.events if isinstance(event, LRFound)), None)
        found = recorded or _sweep(job.spec, job.data, parts, job.stop)
        yield job, found
        lr = found.suggestion
    state = new_state(parts.model, recipe, job.circumstances, lr, len(job.data.train.labels))
    attempt = Attempt(job, parts, summary, state)
    attempt.load_checkpoint(at_most=started.steps_per_epoch * recipe.epochs)
    return attempt


def _started(job: Job, parts: Parts, summary: models.ModelSummary) -> Started:
    dataset, source, data = job.data.dataset, parts.source, job.data
    return Started(
        time=time.time(),
        spec=job.spec,
        circumstances=job.circumstances.model_copy(update={"augment_backend": source.backend})
        if source.backend != "none"
        else job.circumstances,
        design=job.design,
        data=DataFacts(
            name=dataset.name,
            label=dataset.label,
            checksum=dataset.checksum,
            classes=dataset.classes,
            shape=(dataset.channels, dataset.height, dataset.width),
            mean=dataset.mean,
            std=dataset.std,
            train_images=len(data.train.labels),
            validation_images=len(data.validation.labels) if data.validation else 0,
            test_images=len(data.test.labels),
            left_out=tuple((each.folder, each.files, each.reason) for each in dataset.left_out),
            remarks=dataset.remarks,
            duplicates=asdict(dataset.duplicates) if dataset.duplicates else {},
        ),
        model=ModelFacts(
            parameters=summary.parameters,
            multiply_adds=summary.multiply_adds,
            receptive_field=summary.receptive_field,
        ),
        steps_per_epoch=steps_per_epoch(len(data.train.labels), job.spec.recipe.batch_size),
        augmentation=f"{source.backend}: {source.reason}",
        environment=environment(job.root, job.spec.recipe, job.circumstances),
    )


def _continue_or_clear(job: Job, now: Started) -> Resumed | None:
    """Check that a run may continue from its checkpoint, and clear the journal of a run that starts from scratch.

    Reports compare runs by processor, device and versions, so a checkpoint is continued only under the same ones,
    unless a difference is allowed by name; the returned event then records it. Without a checkpoint, a run whose
    environment changed starts from scratch.

    Returns:
        The event to record if the run continues under changed, allowed conditions; otherwise None.

    Raises:
        HarnessError: something changed since the checkpoint and is not allowed.
    """
    if job.journal.started is None:  # the first event of a journal must be Started: remove earlier failures
        job.journal.rewrite([])
        return None
    before = segments(job.journal.events)[-1]
    changed = changed_since(before, now.data.checksum, now.circumstances, now.environment)
    if not changed:
        return None
    if not checkpoint.exists(job.folder):
        job.journal.rewrite([])
        return None
    names = [recorded_as(name) for name in changed]
    refused = [name for name in names if name == "data.checksum" or not within(name, job.allowed)]
    if refused:
        allow = f'allow it with ALLOW="{" ".join(refused)}", ' if "data.checksum" not in refused else ""
        raise HarnessError(
            f"run {job.spec.key} cannot go on from its checkpoint: {in_words(changed)}; undo that change, {allow}or "
            f"remove {job.folder.relative_to(job.root)} to start from scratch"
        )
    return Resumed(
        time=now.time,
        step=checkpoint.newest_step(job.folder),
        circumstances=now.circumstances,
        environment=now.environment,
    )


def sweep(spec: RunSpec, circumstances: Circumstances, data: DeviceData, workers: int = 0) -> LRFound:
    """Carry out a run's LR range test without training the run.

    Raises:
        HarnessError: the test diverged, failed, or suggests no rate.
    """
    try:
        return _sweep(spec, data, build(spec, circumstances, data, workers), stop=lambda: False)
    except NotFinite as error:
        raise HarnessError(f"`lr_finder` ended at a loss that is not finite (iteration {error.step})") from error
    except HarnessError:
        raise
    except Exception as error:  # the model is user code and may raise anything
        raise HarnessError(f"the LR range test failed: {type(error).__name__}: {first_line(error)}") from error


def _sweep(spec: RunSpec, data: DeviceData, parts: Parts, stop: ShouldStop) -> LRFound:
    return find_lr(parts.model, parts.source, data.train.labels, spec.recipe, spec.seed, parts.normaliser, stop)
