"""The registry of metrics, and the names that an experiment's `primary_metric` may have."""

import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.values import SpecError, first_line, nearest

Logits = NDArray[np.floating]
Targets = NDArray[np.integer]
Compute = Callable[[Logits, Targets], float]

VALIDATION = "validation_accuracy"
"""The only primary metric not computed from test logits: runs record it after every epoch on the held-out images."""

_ROUNDING = 1e-6


@dataclass(frozen=True)
class Metric:
    """A registered metric."""

    name: str
    compute: Compute
    """Function of logits, shape (N, C), and targets, shape (N,) (indices of the true classes), N >= 1, to a float."""
    higher_is_better: bool
    fraction: bool
    """True if values lie in 0..1, so that they are shown in percent and differences in percentage points."""
    least_classes: int
    """The metric is left out for data sets with fewer classes, where it is meaningless."""

    @property
    def words(self) -> str:
        """The name in sentences: "macro f1"."""
        return self.name.replace("_", " ")

    def value(self, logits: Logits, targets: Targets) -> float:
        """What it gives, checked: logits (N, C) and targets (N,) → a finite number, of a fraction 0..1.

        Raises:
            SpecError: it fails, or gives something else.
        """
        try:
            found = self.compute(logits, targets)
            number = float(found) if np.ndim(found) == 0 else math.nan
        except Exception as error:  # whatever the user's own code raises
            raise SpecError(f"{self._where} fails ({type(error).__name__}: {first_line(error)}); mend it") from error
        if not math.isfinite(number):
            given = f"an array of shape {np.shape(found)}" if np.ndim(found) else repr(found)
            raise SpecError(f"{self._where} must give one finite number; it gives {given}: mend it")
        if self.fraction and not -_ROUNDING <= number <= 1 + _ROUNDING:
            raise SpecError(
                f"{self._where} must give 0..1, as it is a fraction; it gives {number:g}: divide it, or register it "
                "with fraction=False"
            )
        return number

    def problem(self, classes: int) -> str | None:
        """Why it cannot judge so many classes, found on made-up logits; None where it can."""
        logits = np.random.default_rng(0).normal(size=(4 * classes, classes)).astype(np.float32)
        try:
            self.value(logits, np.arange(4 * classes) % classes)
        except SpecError as error:
            return str(error)
        return None

    @property
    def _where(self) -> str:
        return f"metric {self.name!r} ({self.compute.__module__.replace('.', '/')}.py)"


_METRICS: dict[str, Metric] = {}
BROKEN: dict[str, str] = {}
"""File name → the reason why it cannot be imported, in one line."""


def register(
    *, higher_is_better: bool = True, fraction: bool = True, least_classes: int = 2
) -> Callable[[Compute], Compute]:
    """Decorator that registers a function of logits and targets under its own name.

    Raises:
        SpecError: the name is already registered.
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
    """Import every file of the package. A file that fails is noted in BROKEN and its metrics are removed."""
    package = importlib.import_module("harness.evidence.metrics")
    for found in pkgutil.iter_modules(package.__path__):
        module = f"harness.evidence.metrics.{found.name}"
        try:
            importlib.import_module(module)
        except Exception as error:  # metric files are user code and may raise anything
            for name in [name for name, metric in _METRICS.items() if metric.compute.__module__ == module]:
                del _METRICS[name]
            file = f"{module.replace('.', '/')}.py"
            BROKEN[file] = f"{file} ({type(error).__name__}: {' '.join(str(error).split())})"


def every() -> tuple[Metric, ...]:
    """All registered metrics, sorted by name."""
    return tuple(_METRICS[name] for name in sorted(_METRICS))


def primary_names() -> tuple[str, ...]:
    """The possible values of an experiment's `primary_metric`."""
    return (*(f"test_{metric.name}" for metric in every()), VALIDATION)


def check_primary(name: str) -> None:
    """Check that a primary metric exists.

    Raises:
        SpecError: it does not; the message lists all metrics and similar names.
    """
    if name not in primary_names():
        near = nearest(f"test_{name}" if name in _METRICS else name, primary_names())
        broken = f"; not imported: {'; '.join(BROKEN.values())}" if BROKEN else ""
        raise SpecError(f"`primary_metric` must be one of {', '.join(primary_names())}; got {name!r}{near}{broken}")


def of_primary(name: str) -> Metric:
    """The metric that a `primary_metric` refers to.

    Raises:
        SpecError: no such metric is registered (any more).
    """
    check_primary(name)
    return _METRICS[name.removeprefix("test_") if name != VALIDATION else "accuracy"]
