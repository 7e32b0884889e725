"""Build torch's optimisers and schedules from a recipe; all schedules are stepped per batch."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from harness.plans import hyperparameters
from harness.plans.spec import Recipe
from harness.values import SpecError


def build_optimizer(model: nn.Module, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """The recipe's optimiser for the model's trainable parameters, with peak rate `lr`; fused if torch supports it."""
    values = recipe.optimizer
    parameters = [p for p in model.parameters() if p.requires_grad]
    fused = parameters[0].device.type in ("cpu", "cuda")
    match values:
        case hyperparameters.SGD():
            return torch.optim.SGD(
                parameters,
                lr=lr,
                momentum=values.momentum,
                nesterov=values.nesterov,
                weight_decay=values.weight_decay,
                fused=fused,
            )
        case hyperparameters.Adam() | hyperparameters.AdamW():
            kind = torch.optim.AdamW if isinstance(values, hyperparameters.AdamW) else torch.optim.Adam
            return kind(
                parameters, lr=lr, betas=values.betas, eps=values.eps, weight_decay=values.weight_decay, fused=fused
            )


def check_schedule(schedule: hyperparameters.Schedule, steps: int) -> None:
    """Check that a schedule can be used for this number of steps.

    Raises:
        SpecError: One Cycle with a rise of a single step.
    """
    if isinstance(schedule, hyperparameters.OneCycle) and schedule.pct_start * steps == 1:  # torch would divide by 0
        raise SpecError(
            f"`schedule.pct_start` must leave more than one step to the rise; got {schedule.pct_start} of {steps} "
            "steps; raise it, or epochs"
        )


def build_scheduler(
    optimizer: torch.optim.Optimizer, schedule: hyperparameters.Schedule, lr: float, steps_per_epoch: int, epochs: int
) -> LRScheduler:
    """The schedule, whose `step()` is called after every optimiser step.

    Args:
        lr: the peak learning rate, as passed to the optimiser.
    """
    match schedule:
        case hyperparameters.OneCycle():
            return OneCycleLR(
                optimizer,
                max_lr=lr,
                total_steps=epochs * steps_per_epoch,
                pct_start=schedule.pct_start,
                anneal_strategy=schedule.anneal_strategy,
                div_factor=schedule.div_factor,
                final_div_factor=schedule.final_div_factor,
                three_phase=schedule.three_phase,
                cycle_momentum=schedule.cycle_momentum,
                base_momentum=schedule.base_momentum,
                max_momentum=schedule.max_momentum,
            )
        case hyperparameters.Step():
            every = schedule.step_epochs * steps_per_epoch
            return LambdaLR(optimizer, lambda step: schedule.gamma ** (step // every))
        case hyperparameters.Cosine():
            warmup, total = schedule.warmup_epochs * steps_per_epoch, epochs * steps_per_epoch
            return LambdaLR(optimizer, lambda step: _cosine(step, warmup, total, schedule.final_fraction))
        case hyperparameters.Constant():
            return LambdaLR(optimizer, lambda step: 1.0)


def _cosine(step: int, warmup: float, total: int, final: float) -> float:
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return final + (1 - final) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
