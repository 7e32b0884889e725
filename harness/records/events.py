"""The events of a run, used by the journal, MLflow and the reports.

Their order is `Started`, optionally `LRFound`, one `EpochDone` per epoch, then `Finished`, `Diverged` or `Failed`;
`Resumed` marks a continuation under other circumstances. Accuracies are fractions (0..1), losses are means per example
over the whole epoch, times are in seconds.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from harness.plans.experiment import Design
from harness.plans.spec import Circumstances, RunSpec
from harness.values import Values

MEASURED = frozenset(
    {"time", "seconds", "train_seconds", "evaluate_seconds", "images_per_second", "system", "peak_memory_bytes"}
)
"""Fields of events that are measured, and therefore differ when a run is repeated."""
ENDS = ("finished", "diverged", "failed")
"""Kinds of the events that end an attempt."""


class DataFacts(Values):
    """The images that a run was trained and evaluated on."""

    name: str
    label: str
    checksum: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height, width."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_images: int
    validation_images: int
    test_images: int
    left_out: tuple[tuple[str, int, str], ...] = ()
    """Files of a folder that were skipped: (folder, number of files, reason)."""
    remarks: tuple[str, ...] = ()
    """Sentences about changes that decoding made to the images."""
    duplicates: dict[str, int] = Field(default_factory=dict)
    """Numbers of images that are identical pixel by pixel: within_train, test_in_train, two_labels."""


class ModelFacts(Values):
    """The size of a network: parameters, multiply-adds per image in the forward pass, receptive field in pixels."""

    parameters: int
    multiply_adds: int
    receptive_field: int | None


class Started(Values):
    """A run starts: its specification, design, data, model, circumstances and environment."""

    kind: Literal["started"] = "started"
    time: float
    """Seconds since 1970."""
    spec: RunSpec
    circumstances: Circumstances
    design: Design
    data: DataFacts
    model: ModelFacts
    steps_per_epoch: int
    augmentation: str
    """The augmentation backend, and why it was chosen."""
    environment: dict[str, Any]
    """Commit, digests of the code and of the model's source, versions, processor, device (`execution/changes.py`)."""


class Resumed(Values):
    """A run resumes from a checkpoint under other circumstances or on another machine, as allowed by ALLOW=."""

    kind: Literal["resumed"] = "resumed"
    time: float
    step: int
    """Number of optimiser steps made before."""
    circumstances: Circumstances
    environment: dict[str, Any]


class LRFound(Values):
    """The result of an LR range test: the rates tried, the smoothed losses, and the suggested rate."""

    kind: Literal["lr_found"] = "lr_found"
    time: float
    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float
    seconds: float


class Scores(Values):
    """Mean loss and accuracy over one split."""

    loss: float
    accuracy: float


class EpochDone(Values):
    """One epoch is complete. Training loss and accuracy are over the augmented training batches, before each update."""

    kind: Literal["epoch"] = "epoch"
    time: float
    epoch: int
    """From 1."""
    step: int
    """Number of optimiser steps so far."""
    train: Scores
    validation: Scores | None
    test: Scores
    lrs: tuple[float, ...]
    """The learning rate of every step of the epoch."""
    train_seconds: float
    evaluate_seconds: float
    images_per_second: float
    """Number of training images divided by train_seconds."""
    system: dict[str, float] = Field(default_factory=dict)
    """System metrics by MLflow's names, such as system/cpu_utilization_percentage."""


class Finished(Values):
    """The run is complete; the scores of its last epoch are its result."""

    kind: Literal["finished"] = "finished"
    time: float
    train_seconds: float
    evaluate_seconds: float
    peak_memory_bytes: int
    """Peak of the allocator on CUDA; otherwise the peak resident size of the process."""
    weights_sha256: str
    artifacts: dict[str, tuple[int, str]] = Field(default_factory=dict)
    """Path below the run's artifacts → (size in bytes, SHA-256); empty in runs recorded before November 2026."""


class Diverged(Values):
    """A loss was not finite: the run ended at this optimiser step (from 1) without a result."""

    kind: Literal["diverged"] = "diverged"
    time: float
    step: int
    where: Literal["train", "evaluation", "lr_finder"]


class Failed(Values):
    """The attempt ended with an error, described in one line."""

    kind: Literal["failed"] = "failed"
    time: float
    error: str


Event = Started | Resumed | LRFound | EpochDone | Finished | Diverged | Failed
EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def segments(events: Sequence[Event]) -> list[Started]:
    """One `Started` event for each part of a run that was computed under the same conditions.

    Most runs have one part; each `Resumed` event begins another, with its own circumstances and environment.
    """
    first = next(event for event in events if isinstance(event, Started))
    parts = [{"circumstances": e.circumstances, "environment": e.environment} for e in events if isinstance(e, Resumed)]
    return [first, *(first.model_copy(update=part) for part in parts)]


def from_json(line: bytes) -> Event:
    """Parse one line of a journal.

    Lines written before November 2026, when recipes contained the circumstances and specifications had no image
    checksum, are converted.

    Raises:
        ValueError: the line is not an event.
    """
    if b'"kind":"started"' in line[:40] and b'"circumstances":' not in line:
        line = json.dumps(_today(json.loads(line))).encode()
    return EVENT.validate_json(line)


def _today(started: dict[str, Any]) -> dict[str, Any]:
    try:
        spec = dict(started["spec"])
        recipe = dict(spec["recipe"])
        images = started["data"]["checksum"]
    except (KeyError, TypeError) as error:
        raise ValueError("a run's beginning lacks its spec or its data") from error
    found = {name: recipe.pop(name) for name in Circumstances.model_fields if name in recipe}
    if found.get("step") == "fused":
        found["step"] = "stacked"
    return started | {"spec": spec | {"recipe": recipe, "images": images}, "circumstances": found}
