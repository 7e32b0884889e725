"""Tuning: which fields are searched, over which ranges, with how many trials; and the result of each trial."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from harness.evidence import metrics
from harness.values import Dotted, Name, Scalar, Values

FIRST_TRIAL_SEED = 2_000_000_000
"""Trials use seeds from this number on; an experiment that tunes must declare smaller ones."""
EDGE = 0.1
"""A best value within this share of its range from either end is reported as lying at the edge."""


class _Interval(Values):
    low: float
    high: float

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"a range must have low below high; got {self.low} and {self.high}")
        return self


class Uniform(_Interval):
    """Any number from low to high, uniformly distributed."""

    scale: Literal["linear"] = "linear"

    def __init__(self, low: float, high: float, scale: Literal["linear"] = "linear"):
        super().__init__(low=low, high=high, scale=scale)  # pyright: ignore[reportCallIssue] pydantic's own takes all

    def position(self, value: float) -> float:
        """Position of a value in the range: 0 at the low end, 1 at the high end."""
        return (value - self.low) / (self.high - self.low)


class LogUniform(_Interval):
    """Any number from low to high, both above 0, with a uniformly distributed logarithm."""

    scale: Literal["log"] = "log"

    def __init__(self, low: float, high: float, scale: Literal["log"] = "log"):
        super().__init__(low=low, high=high, scale=scale)  # pyright: ignore[reportCallIssue] as in Uniform

    @model_validator(mode="after")
    def _above_zero(self) -> Self:
        if self.low <= 0:
            raise ValueError(f"the low end of LogUniform must be above 0; got {self.low}")
        return self

    def position(self, value: float) -> float:
        """Position of a value's logarithm in the range: 0 at the low end, 1 at the high end."""
        return math.log(value / self.low) / math.log(self.high / self.low)


class Choice(Values):
    """One of several values, equally likely; they have no order, so none lies at an edge."""

    values: Annotated[tuple[Scalar, ...], Field(min_length=2, strict=False)]
    scale: Literal["none"] = "none"

    def __init__(self, values: tuple[Scalar, ...], scale: Literal["none"] = "none"):
        super().__init__(values=values, scale=scale)  # pyright: ignore[reportCallIssue] as in Uniform


Range = Annotated[LogUniform | Uniform | Choice, Field(discriminator="scale")]


class Tuning(Values):
    """Tune every variant with the same number of trials over the same ranges, scored on held-out training images.

    Each trial is a separate run, scored after its last epoch by the experiment's primary metric on the held-out images;
    it never sees a test image. The best trial's values are put into the variant's recipe, which is then run with the
    declared seeds on all training images.
    """

    space: dict[Dotted, Range] = Field(min_length=1)
    """Dotted field of the recipe → the range to search. The factor cannot be tuned."""
    trials: Annotated[int, Field(ge=2, le=1000)] = 8
    """Number of trials of each variant."""
    seed: Annotated[int, Field(ge=0, lt=100_000_000)] = 0
    """Seed of the search. The quasi-random points that it starts with are the same for every variant."""
    validation_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Share of the training images that are held out to score trials, stratified by class."""


class Trial(Values):
    """The result of one trial."""

    variant: Name
    number: int
    """Number of the trial within its variant, from 0."""
    values: dict[Dotted, Scalar]
    key: str
    """Key of the trial's run."""
    seed: int
    score: float | None = Field(validation_alias=AliasChoices("score", "validation_accuracy"))
    """The metric on the held-out images after the last epoch, a fraction (0..1) or in its own unit; None if the run
    diverged. Recorded as `validation_accuracy` while that was the only metric."""
    train_seconds: float

    @property
    def diverged(self) -> bool:
        return self.score is None


class Tuned(Values):
    """A tuning and all its trials, recorded together with the experiment's design."""

    asked: Tuning
    base: dict[str, Any]
    """Dotted field → its value in the experiment's file, which the first trial of every variant uses."""
    trials: tuple[Trial, ...]
    metric: str = "test_accuracy"
    """The primary metric that trials are scored by; held-out images stand in the place of the test images."""

    @property
    def sign(self) -> int:
        """1 where a higher score is better, -1 where a lower one is."""
        return 1 if metrics.of_primary(self.metric).higher_is_better else -1

    def of(self, variant: str) -> tuple[Trial, ...]:
        """The trials of a variant, sorted by number."""
        return tuple(sorted((t for t in self.trials if t.variant == variant), key=lambda t: t.number))

    def best(self, variant: str) -> Trial | None:
        """The trial with the best score, the earliest if several tie; None if all diverged."""
        scored = [(self.sign * t.score, -t.number, t) for t in self.of(variant) if t.score is not None]
        return max(scored, key=lambda each: each[:2])[2] if scored else None

    def worth(self, trial: Trial) -> float:
        """A trial's score. One that diverged counts as the worst there is: of fractions 0 or 1, whichever is worse; of
        other metrics the worst score of all trials."""
        if trial.score is not None:
            return trial.score
        if metrics.of_primary(self.metric).fraction:
            return 0.0 if self.sign > 0 else 1.0
        return self.sign * min((self.sign * t.score for t in self.trials if t.score is not None), default=0.0)

    def at_edge(self, variant: str) -> dict[str, Literal["low", "high"]]:
        """Tuned field → the end of its range at which the best value lies, for fields where it does; see EDGE."""
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
    """The expected best score of `budget` random trials: the mean of the best over all subsets of that size.

    This is the unbiased estimator of Tang et al. 2020 ("Showing Your Work Doesn't Always Work", arXiv:2004.13705,
    equation 6); the plug-in estimate of Dodge et al. 2019 is smaller for every budget above 1.

    Args:
        scores: one per trial, at least `budget`; a diverged trial counts with the score assigned to it.
        budget: number of trials, at least 1.
    """
    assert 1 <= budget <= len(scores), (budget, len(scores))
    ranked = sorted(scores)
    subsets = math.comb(len(ranked), budget)
    return sum(score * math.comb(rank, budget - 1) for rank, score in enumerate(ranked)) / subsets
