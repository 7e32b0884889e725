"""A dict from metric name to what computes it, and the names that an experiment may put its question by."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.values import SpecError, nearest

Logits = NDArray[np.floating]
Targets = NDArray[np.integer]
Compute = Callable[[Logits, Targets], float]

VALIDATION = "validation_accuracy"
"""The one primary metric that is not of test images: of those, runs keep no logits, but scores after every epoch."""


@dataclass(frozen=True)
class Metric:
    """One way to judge logits."""

    name: str
    compute: Compute
    """Logits (N, C) and targets (N,), the indices of the true classes, N of at least 1 → a finite number."""
    higher_is_better: bool
    fraction: bool
    """Whether values lie in 0..1 and are shown in percent, their differences in points; otherwise as they are."""
    least_classes: int
    """With fewer classes it says nothing, and is left out."""

    @property
    def words(self) -> str:
        """As sentences have it: "macro f1"."""
        return self.name.replace("_", " ")


_METRICS: dict[str, Metric] = {}
BROKEN: dict[str, str] = {}
"""File → why it cannot be imported, in one line."""


def register(
    *, higher_is_better: bool = True, fraction: bool = True, least_classes: int = 2
) -> Callable[[Compute], Compute]:
    """Decorator: makes a function of logits and targets known under its own name.

    Raises:
        SpecError: the name is taken.
    """

    def known(compute: Compute) -> Compute:
        name = compute.__name__
        if name in _METRICS:
            first = _METRICS[name].compute.__module__
            raise SpecError(f"metric {name!r} is registered twice: in {first} and {compute.__module__}")
        _METRICS[name] = Metric(name, compute, higher_is_better, fraction, least_classes)
        return compute

    return known


def import_all() -> None:
    """Import every file of the package; a broken one harms no other, and what it had registered is forgotten."""
    package = importlib.import_module("harness.evidence.metrics")
    for found in pkgutil.iter_modules(package.__path__):
        module = f"harness.evidence.metrics.{found.name}"
        try:
            importlib.import_module(module)
        except Exception as error:  # it is the user's own code that runs here, and may fail in any way
            for name in [name for name, metric in _METRICS.items() if metric.compute.__module__ == module]:
                del _METRICS[name]
            file = f"{module.replace('.', '/')}.py"
            BROKEN[file] = f"{file} ({type(error).__name__}: {' '.join(str(error).split())})"


def every() -> tuple[Metric, ...]:
    """All registered metrics, by name."""
    return tuple(_METRICS[name] for name in sorted(_METRICS))


def primary_names() -> tuple[str, ...]:
    """What an experiment's `primary_metric` may be."""
    return (*(f"test_{metric.name}" for metric in every()), VALIDATION)


def check_primary(name: str) -> None:
    """Refuses a primary metric that does not exist.

    Raises:
        SpecError: with all that there are, and the nearest.
    """
    if name not in primary_names():
        near = nearest(f"test_{name}" if name in _METRICS else name, primary_names())
        broken = f"; not imported: {'; '.join(BROKEN.values())}" if BROKEN else ""
        raise SpecError(f"`primary_metric` must be one of {', '.join(primary_names())}; got {name!r}{near}{broken}")


def of_primary(name: str) -> Metric:
    """The metric that a primary metric's name stands for.

    Raises:
        SpecError: there is none, or no longer.
    """
    check_primary(name)
    return _METRICS[name.removeprefix("test_") if name != VALIDATION else "accuracy"]
