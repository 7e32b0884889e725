"""The events of a run, as frozen values: the one vocabulary of the journal, MLflow and the reports.

A run's events in order: `Started`, perhaps `LRFound`, an `EpochDone` per epoch, then `Finished` or `Diverged` or
`Failed`; `Resumed` where it went on elsewhere. Accuracies are fractions (0..1), losses means per example over the
whole epoch, times seconds.
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
"""Fields of an event that no repetition of a run can repeat."""
ENDS = ("finished", "diverged", "failed")
"""Kinds of the events that end an attempt."""


class DataFacts(Values):
    """The images a run really saw."""

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
    """Files of a folder that were not read: where, how many, why."""
    remarks: tuple[str, ...] = ()
    """What decoding changed in the images, in sentences."""
    duplicates: dict[str, int] = Field(default_factory=dict)
    """Images that are the same pixel by pixel: within_train, test_in_train, two_labels."""


class ModelFacts(Values):
    """The network's size: parameters, multiply-adds forward an image, receptive field in pixels."""

    parameters: int
    multiply_adds: int
    receptive_field: int | None


class Started(Values):
    """A run begins: what was asked for, of what, under which circumstances."""

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
    """Which backend augments, and why."""
    environment: dict[str, Any]
    """Commit, digests of the code and of the model's source, versions, processor, device; see `environment`."""


class Resumed(Values):
    """A run goes on from a checkpoint under other circumstances, or elsewhere, because that was asked for by name."""

    kind: Literal["resumed"] = "resumed"
    time: float
    step: int
    """Optimiser steps that were made before."""
    circumstances: Circumstances
    environment: dict[str, Any]


class LRFound(Values):
    """The LR range test: the rates tried, the smoothed losses, and the suggestion taken."""

    kind: Literal["lr_found"] = "lr_found"
    time: float
    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float
    seconds: float


class Scores(Values):
    """Mean loss and accuracy of the network, in evaluation mode, over one split."""

    loss: float
    accuracy: float


class EpochDone(Values):
    """One epoch: training loss and accuracy are those of the training batches as they came, augmented."""

    kind: Literal["epoch"] = "epoch"
    time: float
    epoch: int
    """From 1."""
    step: int
    """Optimiser steps taken so far."""
    train: Scores
    validation: Scores | None
    test: Scores
    lrs: tuple[float, ...]
    """The learning rate of every step of the epoch."""
    train_seconds: float
    evaluate_seconds: float
    images_per_second: float
    """Training images by train_seconds."""
    system: dict[str, float] = Field(default_factory=dict)
    """Under MLflow's names: system/cpu_utilization_percentage, system/system_memory_usage_megabytes, …"""


class Finished(Values):
    """The run is complete; the last epoch is the result."""

    kind: Literal["finished"] = "finished"
    time: float
    train_seconds: float
    evaluate_seconds: float
    peak_memory_bytes: int
    """On CUDA the allocator's peak; elsewhere the process's largest resident size."""
    weights_sha256: str
    artifacts: dict[str, tuple[int, str]] = Field(default_factory=dict)
    """File below the run's artifacts → its bytes and SHA-256; empty in runs recorded before November 2026."""


class Diverged(Values):
    """A loss was not finite: the run stops at this optimiser step (from 1), and is never a best result."""

    kind: Literal["diverged"] = "diverged"
    time: float
    step: int
    where: Literal["train", "evaluation", "lr_finder"]


class Failed(Values):
    """The run ended with an error, in one line."""

    kind: Literal["failed"] = "failed"
    time: float
    error: str


Event = Started | Resumed | LRFound | EpochDone | Finished | Diverged | Failed
EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def segments(events: Sequence[Event]) -> list[Started]:
    """The beginning of a run that has begun, as it would read for each part that was computed alike: one for most."""
    first = next(event for event in events if isinstance(event, Started))
    parts = [{"circumstances": e.circumstances, "environment": e.environment} for e in events if isinstance(e, Resumed)]
    return [first, *(first.model_copy(update=part) for part in parts)]


def from_json(line: bytes) -> Event:
    """The event in a line of a journal, also of one written before November 2026.

    Recipes held the circumstances then, and runs were not named by their images' checksum.

    Raises:
        ValueError: it is not an event.
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
