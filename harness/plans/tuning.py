"""Tuning as values: which fields, over which ranges, with how many trials; and what each trial came to."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from harness.values import Dotted, Name, Scalar, Values

FIRST_TRIAL_SEED = 2_000_000_000
"""Trials draw their seeds from here on; an experiment that tunes uses none as large for its results."""
EDGE = 0.1
"""A best value in the outer tenth of its range, at either end, says that better ones may lie beyond."""


class _Interval(Values):
    low: float
    high: float

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"a range must have low below high; got {self.low} and {self.high}")
        return self


class Uniform(_Interval):
    """Any number from low to high, all as likely."""

    scale: Literal["linear"] = "linear"

    def __init__(self, low: float, high: float, scale: Literal["linear"] = "linear"):
        super().__init__(low=low, high=high, scale=scale)  # pyright: ignore[reportCallIssue] pydantic's own takes all

    def position(self, value: float) -> float:
        """Where a value lies in the range: 0 at its low end, 1 at its high end."""
        return (value - self.low) / (self.high - self.low)


class LogUniform(_Interval):
    """Any number from low to high, above 0, each factor of ten as likely as another."""

    scale: Literal["log"] = "log"

    def __init__(self, low: float, high: float, scale: Literal["log"] = "log"):
        super().__init__(low=low, high=high, scale=scale)  # pyright: ignore[reportCallIssue] as in Uniform

    @model_validator(mode="after")
    def _above_zero(self) -> Self:
        if self.low <= 0:
            raise ValueError(f"the low end of LogUniform must be above 0; got {self.low}")
        return self

    def position(self, value: float) -> float:
        """Where a value lies in the range, by its logarithm: 0 at its low end, 1 at its high end."""
        return math.log(value / self.low) / math.log(self.high / self.low)


class Choice(Values):
    """One of several values, all as likely; they have no order, and so no edge."""

    values: Annotated[tuple[Scalar, ...], Field(min_length=2, strict=False)]
    scale: Literal["none"] = "none"

    def __init__(self, values: tuple[Scalar, ...], scale: Literal["none"] = "none"):
        super().__init__(values=values, scale=scale)  # pyright: ignore[reportCallIssue] as in Uniform


Range = Annotated[LogUniform | Uniform | Choice, Field(discriminator="scale")]


class Tuning(Values):
    """The same number of trials for every variant, over the same ranges, scored on held-out training images.

    A trial is a run of its own; it is scored by its validation accuracy after the last epoch, and never sees a test
    image. The values of the best trial stand in the variant's recipe, which is then run with the declared seeds on all
    training images.
    """

    space: dict[Dotted, Range] = Field(min_length=1)
    """Dotted field of the recipe → the values to choose from. None may be part of the factor."""
    trials: Annotated[int, Field(ge=2, le=1000)] = 8
    """Of every variant alike."""
    seed: Annotated[int, Field(ge=0, lt=100_000_000)] = 0
    """Which points are tried: quasi-random ones, the same for every variant while they are few."""
    validation_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Share of the training images that trials are scored on, and not trained on; stratified by class."""


class Trial(Values):
    """One trial, as it ended."""

    variant: Name
    number: int
    """From 0, of this variant."""
    values: dict[Dotted, Scalar]
    key: str
    """Of its run."""
    seed: int
    validation_accuracy: float | None
    """After the last epoch, 0..1; None where it diverged."""
    train_seconds: float

    @property
    def diverged(self) -> bool:
        return self.validation_accuracy is None


class Tuned(Values):
    """What tuning was asked, and every trial of it: travels with what is asked of an experiment."""

    asked: Tuning
    base: dict[str, Any]
    """Dotted field → its value in the experiment's file, which the first trial of every variant has."""
    trials: tuple[Trial, ...]

    def of(self, variant: str) -> tuple[Trial, ...]:
        """A variant's trials, by number."""
        return tuple(sorted((t for t in self.trials if t.variant == variant), key=lambda t: t.number))

    def best(self, variant: str) -> Trial | None:
        """The trial of the highest validation accuracy, the earliest of several; None where all diverged."""
        scored = [(t.validation_accuracy, -t.number, t) for t in self.of(variant) if t.validation_accuracy is not None]
        return max(scored, key=lambda each: each[:2])[2] if scored else None

    def at_edge(self, variant: str) -> dict[str, Literal["low", "high"]]:
        """Tuned field → the end of its range near which the best value lies; fields whose best is inside are not in."""
        found: dict[str, Literal["low", "high"]] = {}
        best = self.best(variant)
        for field, span in self.asked.space.items() if best else ():
            assert best is not None
            if isinstance(span, Choice):
                continue
            at = span.position(float(best.values[field]))
            if at < EDGE or at > 1 - EDGE:
                found[field] = "low" if at < EDGE else "high"
        return found


def best_of(scores: tuple[float, ...], budget: int) -> float:
    """The mean of the best score over all subsets of `budget` of these trials.

    The unbiased estimator of the expected best of so many random trials (Tang et al. 2020, "Showing Your Work Doesn't
    Always Work", arXiv:2004.13705, equation 6): Dodge et al.'s plug-in estimate of 2019 is below it for every budget
    above 1.

    Args:
        scores: at least `budget` of them; a diverged trial counts with the score that it is worth.
    """
    assert 1 <= budget <= len(scores), (budget, len(scores))
    ranked = sorted(scores)
    subsets = math.comb(len(ranked), budget)
    return sum(score * math.comb(rank, budget - 1) for rank, score in enumerate(ranked)) / subsets
