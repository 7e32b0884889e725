"""Convert events to MLflow's metrics and parameters; equal events give equal rows. Nothing is sent from here."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.records.events import EpochDone, Event, Finished, LRFound, Started
from harness.values import flatten

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param

_PARAM_LENGTH = 6000
"""MLflow truncates parameters at this length."""
_NOTE_CHARACTERS = 8000
"""MLflow truncates notes at this length, with a warning."""


def params(started: Started) -> "Sequence[Param]":
    """Parameters of a run: its specification, circumstances, data, model size and environment."""
    from mlflow.entities import Param

    environment = {f"environment.{k}": v for k, v in started.environment.items() if k != "versions"}
    versions = {f"environment.{k}": v for k, v in started.environment.get("versions", {}).items()}
    around = {f"circumstances.{k}": v for k, v in started.circumstances.model_dump().items()}
    data = {f"data.{k}": v for k, v in started.data.model_dump().items() if k != "name"}
    model = {f"model.{k}": v for k, v in started.model.model_dump().items()}
    run = {"variant": started.spec.variant, "seed": started.spec.seed, "augmentation.used": started.augmentation}
    values = flatten(started.spec.recipe) | data | model | environment | versions | around | run
    return [Param(name, _text(value)[:_PARAM_LENGTH]) for name, value in values.items()]


def metrics(event: Event) -> "Sequence[Metric]":
    """Metrics of an event: scores by epoch, learning rates by optimiser step, the LR range test by iteration."""
    from mlflow.entities import Metric

    when = milliseconds(event)
    match event:
        case EpochDone():
            scores = {"train": event.train, "validation": event.validation, "test": event.test}
            values = {f"{split}_loss": s.loss for split, s in scores.items() if s}
            values |= {f"{split}_accuracy": s.accuracy for split, s in scores.items() if s}
            values |= {
                "train_seconds": event.train_seconds,
                "evaluate_seconds": event.evaluate_seconds,
                "images_per_second": event.images_per_second,
            }
            first = event.step - len(event.lrs) + 1
            rates = [Metric("learning_rate", lr, when, first + i) for i, lr in enumerate(event.lrs)]
            return [Metric(name, value, when, event.epoch) for name, value in (values | event.system).items()] + rates
        case LRFound():
            curve = zip(event.lrs, event.losses, strict=True)
            pairs = [
                [Metric("lr_finder_lr", lr, when, i), Metric("lr_finder_loss", loss, when, i)]
                for i, (lr, loss) in enumerate(curve)
            ]
            return [m for pair in pairs for m in pair] + [Metric("lr_finder_suggestion", event.suggestion, when, 0)]
        case Finished():
            total = {"total_train_seconds": event.train_seconds, "peak_memory_megabytes": event.peak_memory_bytes / 1e6}
            return [Metric(name, value, when, 0) for name, value in total.items()]
        case _:
            return []


def milliseconds(event: Event) -> int:
    """An event's time in milliseconds since 1970, as used by MLflow."""
    return int(event.time * 1000)


def fitting(note: str) -> str:
    """A note shortened to MLflow's limit at a line break; its last line says how many lines are left out."""
    if len(note) <= _NOTE_CHARACTERS:
        return note
    lines, room = note.split("\n"), _NOTE_CHARACTERS - 100
    kept: list[str] = []
    while len(lines) > len(kept) and room > len(lines[len(kept)]):
        room -= len(lines[len(kept)]) + 1
        kept.append(lines[len(kept)])
    return "\n".join(kept) + f"\n\n{len(lines) - len(kept)} more rows: see the report among this run's artifacts."


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
