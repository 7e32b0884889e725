"""Settings of optimisers, learning rate schedules and the LR range test; `harness.training` builds the objects."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from harness.values import Count, Fraction, Momentum, NonNegativeFloat, PositiveFloat, Values


class LRFinder(Values):
    """LR range test (Smith 2017, arXiv:1506.01186): the learning rate grows from start_lr to end_lr, once per batch."""

    start_lr: PositiveFloat = 1e-7
    end_lr: PositiveFloat = 1.0
    iterations: Annotated[int, Field(ge=20, le=100_000)] = 200
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    diverge_threshold: Annotated[float, Field(gt=1)] = 5.0
    """The test ends when the loss exceeds this many times its lowest value so far."""
    each_run: bool = False
    """True: every run finds its own rate, which is then a difference between runs. False: the first seed of the
    baseline finds one rate for all runs; variants with another lr_finder or optimizer find a separate one."""
    suggestion: Literal["steepest", "minimum_tenth"] = "steepest"
    """"steepest": the rate at which the smoothed loss falls fastest (the rule of torch-lr-finder). "minimum_tenth": a
    tenth of the rate at which the loss is lowest (the rule of fastai, meant for the peak of One Cycle)."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.start_lr >= self.end_lr:
            raise ValueError(f"start_lr must be below end_lr; got {self.start_lr} and {self.end_lr}")
        return self


LearningRate = PositiveFloat | Literal["find"]
"""The peak learning rate; "find" is replaced by the suggestion of the recipe's `lr_finder`."""
Betas = tuple[Momentum, Momentum]


class Adam(Values):
    """Adam (Kingma & Ba 2015, arXiv:1412.6980); weight decay is added to the gradient."""

    name: Literal["adam"] = "adam"
    lr: LearningRate
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0


class AdamW(Values):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101); weight decay is decoupled from the gradient."""

    name: Literal["adamw"] = "adamw"
    lr: LearningRate
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


class SGD(Values):
    """Stochastic gradient descent with momentum, optionally Nesterov momentum."""

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
    """One Cycle, stepped per batch (Smith & Topin 2017, arXiv:1708.07120), with the arguments of torch's `OneCycleLR`.

    The rate rises from lr/div_factor to lr over the first pct_start of all steps, then falls to lr/div_factor/
    final_div_factor; final_div_factor=1 ends at the rate it began with. With three_phase=False there is no separate
    final phase ("annihilation"). `cycle_momentum` moves momentum (Adam: beta1) between max_momentum and base_momentum,
    in the opposite direction to the rate.
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
                f"three_phase needs pct_start below 0.5, because rise and fall last equally long; got {self.pct_start}"
            )
        return self


class Step(Values):
    """Step decay: the rate is multiplied by gamma every step_epochs epochs."""

    name: Literal["step"] = "step"
    step_epochs: Count = 15
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1


class Cosine(Values):
    """Cosine decay: a linear rise over warmup_epochs, then half a cosine down to lr * final_fraction, per batch."""

    name: Literal["cosine"] = "cosine"
    warmup_epochs: NonNegativeFloat = 0.0
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0


class Constant(Values):
    """A constant learning rate."""

    name: Literal["constant"] = "constant"


Optimizer = Annotated[Adam | AdamW | SGD, Field(discriminator="name")]
Schedule = Annotated[OneCycle | Step | Cosine | Constant, Field(discriminator="name")]


def kinds(union: Any) -> dict[str, type[Values]]:
    """Name → class, for a union whose classes are told apart by their `name` field: `Optimizer` or `Schedule`."""
    arms, _ = get_args(union)
    return {kind.model_fields["name"].default: kind for kind in get_args(arms)}
