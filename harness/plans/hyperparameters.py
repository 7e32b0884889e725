"""Optimisers, rate schedules and the LR range test as values; `harness.training` builds from them."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from harness.values import Count, Fraction, Momentum, NonNegativeFloat, PositiveFloat, Values


class LRFinder(Values):
    """An LR range test (Smith 2017, arXiv:1506.01186): the rate grows from start_lr to end_lr, one batch a step."""

    start_lr: PositiveFloat = 1e-7
    end_lr: PositiveFloat = 1.0
    iterations: Annotated[int, Field(ge=20, le=100_000)] = 200
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    diverge_threshold: Annotated[float, Field(gt=1)] = 5.0
    """The sweep ends when the loss passes this many times its best."""
    each_run: bool = False
    """Whether every run finds a rate of its own, which is then a difference between runs. Otherwise the first seed of
    the baseline finds one for all runs; variants with another finder or optimiser have one of their own."""
    suggestion: Literal["steepest", "minimum_tenth"] = "steepest"
    """Where the smoothed loss falls fastest (torch-lr-finder's rule), or a tenth of the rate at which it is lowest
    (fastai's: the largest rate that is still safe, which is what One Cycle's peak asks for)."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.start_lr >= self.end_lr:
            raise ValueError(f"start_lr must be below end_lr; got {self.start_lr} and {self.end_lr}")
        return self


LearningRate = PositiveFloat | Literal["find"]
"""The peak learning rate; "find" takes what the recipe's `lr_finder` suggests, which then stands in its place."""
Betas = tuple[Momentum, Momentum]


class Adam(Values):
    """Kingma & Ba 2015, arXiv:1412.6980; weight decay is added to the gradient."""

    name: Literal["adam"] = "adam"
    lr: LearningRate
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0


class AdamW(Values):
    """Loshchilov & Hutter 2019, arXiv:1711.05101; weight decay is decoupled from the gradient."""

    name: Literal["adamw"] = "adamw"
    lr: LearningRate
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


class SGD(Values):
    """Stochastic gradient descent with momentum, Nesterov's on request."""

    name: Literal["sgd"] = "sgd"
    lr: LearningRate
    momentum: Momentum = 0.9
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class OneCycle(Values):
    """One Cycle, stepped per batch (Smith & Topin 2017, arXiv:1708.07120); the arguments are torch's `OneCycleLR`.

    The rate rises from lr/div_factor to lr over the first pct_start of all steps, then falls to lr/div_factor/
    final_div_factor. Seed 003's "no annihilation" is three_phase=False; its stricter reading, ending at the lowest
    rate of the rise, is final_div_factor=1. `cycle_momentum` swings momentum (Adam: beta1) between max and base.
    """

    name: Literal["onecycle"] = "onecycle"
    pct_start: Fraction = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    div_factor: Annotated[float, Field(ge=1)] = 25.0
    final_div_factor: Annotated[float, Field(ge=1)] = 1e4
    three_phase: bool = False
    cycle_momentum: bool = True
    base_momentum: Momentum = 0.85
    max_momentum: Momentum = 0.95

    @model_validator(mode="after")
    def _third_phase_is_reached(self) -> Self:
        if self.three_phase and self.pct_start >= 0.5:
            raise ValueError(
                f"three_phase needs pct_start below 0.5, as rise and fall are as long; got {self.pct_start}"
            )
        return self


class Step(Values):
    """The rate is multiplied by gamma every step_epochs."""

    name: Literal["step"] = "step"
    step_epochs: Count = 15
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1


class Cosine(Values):
    """A linear rise over warmup_epochs, then half a cosine down to lr times final_fraction, stepped per batch."""

    name: Literal["cosine"] = "cosine"
    warmup_epochs: NonNegativeFloat = 0.0
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0


class Constant(Values):
    """The rate never changes."""

    name: Literal["constant"] = "constant"


Optimizer = Annotated[Adam | AdamW | SGD, Field(discriminator="name")]
Schedule = Annotated[OneCycle | Step | Cosine | Constant, Field(discriminator="name")]


def kinds(union: Any) -> dict[str, type[Values]]:
    """Name → class, of a union of values that its `name` field tells apart: `Optimizer` or `Schedule`."""
    arms, _ = get_args(union)
    return {kind.model_fields["name"].default: kind for kind in get_args(arms)}
