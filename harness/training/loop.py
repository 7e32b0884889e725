"""The training loop: readable top to bottom, yields what happens, writes nothing.

`train` yields a `StepDone` after every optimiser step and an `EpochDone` after every epoch; its clock is stopped while
whoever listens works. `State` is complete between any two steps: saved there and loaded elsewhere, training goes on
bit for bit as if it had never stopped.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LRScheduler

from harness.augmentation.source import Source, to_device
from harness.plans.plan import steps_per_epoch
from harness.plans.spec import Recipe
from harness.records.events import EpochDone, Scores
from harness.training.average import Average
from harness.training.evaluate import Normaliser

Evaluate = Callable[[], tuple[Scores | None, Scores]]
"""Scores of the network as it is now on the validation split, if there is one, and on the test split."""


@dataclass(frozen=True)
class StepDone:
    """`step` optimiser steps of `total` are done."""

    step: int
    total: int


Where = Literal["train", "evaluation", "lr_finder"]


class NotFinite(ArithmeticError):
    """A loss was not finite; `step` counts optimiser steps from 1."""

    def __init__(self, step: int, where: Where):
        super().__init__(f"the loss is not finite at step {step} ({where})")
        self.step = step
        self.where: Where = where


@dataclass
class State:
    """All that changes while a run trains."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    forward: Callable[[Tensor], Tensor]
    """What a whole batch goes through: the model, or its compiled form."""
    averaged: Average | None = None
    step: int = 0
    """Optimiser steps taken."""
    sums: Tensor = field(default_factory=lambda: torch.zeros(2))
    """Over the epoch so far, on the device: summed loss, correct predictions."""
    first_bad: Tensor = field(default_factory=lambda: torch.tensor(torch.inf))
    """The first step whose loss was not finite, on the device."""
    lrs: list[float] = field(default_factory=list)
    """The rate of every step of the epoch so far; empty once the epoch has been evaluated."""
    seconds: float = 0.0
    """Spent training in the epoch so far."""

    @property
    def network(self) -> nn.Module:
        """What is evaluated and kept: the average where there is one, else the model."""
        return self.model if self.averaged is None else self.averaged.module

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers only, random state included."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.module.state_dict() if self.averaged else None,
            "scheduler": self.scheduler.state_dict(),
            "step": self.step,
            "sums": self.sums,
            "first_bad": self.first_bad,
            "lrs": self.lrs,
            "seconds": self.seconds,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.sums.device) if self.sums.is_cuda else None,
            "random_mps": torch.mps.get_rng_state() if self.sums.is_mps else None,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from a saved state; the parts keep their identity."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.averaged is not None:
            self.averaged.module.load_state_dict(saved["averaged"])
        self.scheduler.load_state_dict(saved["scheduler"])
        self.step, self.lrs, self.seconds = saved["step"], list(saved["lrs"]), saved["seconds"]
        self.sums.copy_(saved["sums"])
        self.first_bad.copy_(saved["first_bad"])
        torch.set_rng_state(saved["random"])
        if self.sums.is_cuda:
            torch.cuda.set_rng_state(saved["random_cuda"], self.sums.device)
        if self.sums.is_mps:
            torch.mps.set_rng_state(saved["random_mps"])


def epoch_order(seed: int, epoch: int, images: int) -> Tensor:
    """A permutation of the training images, (images,) int64 on the CPU, from the seed and the epoch alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(images, generator=generator)


def train(
    state: State,
    source: Source,
    labels: Tensor,
    recipe: Recipe,
    seed: int,
    normaliser: Normaliser,
    evaluate: Evaluate,
) -> Iterator[StepDone | EpochDone]:
    """Train from wherever `state` is to the recipe's last epoch.

    Args:
        source: augmented images by index, uint8 (B, H, W, C) on the device.
        labels: (N,) int64 on the device.

    Raises:
        NotFinite: a training, validation or test loss is infinite or NaN.
    """
    per_epoch = steps_per_epoch(len(labels), recipe.batch_size)
    total = recipe.epochs * per_epoch
    while state.step < total or state.lrs:
        epoch, first = divmod(state.step, per_epoch)
        if first or not state.lrs:  # else the epoch was interrupted at its evaluation
            order = epoch_order(seed, epoch, len(labels))
            indices = order.split(recipe.batch_size)[first:]
            targets = labels[to_device(order, labels.device)].split(recipe.batch_size)[first:]
            state.model.train()
            clock = time.perf_counter()
            for target, images in zip(targets, source.batches(epoch, indices), strict=True):
                take_step(state, normaliser(images), target, recipe, normaliser.autocast)
                last = state.step % per_epoch == 0
                if last or not state.sums.is_cuda:  # reading the device makes it wait: on CUDA once an epoch
                    _check(state)
                state.seconds += time.perf_counter() - clock
                if not last:
                    yield StepDone(state.step, total)
                clock = time.perf_counter()
        yield end_epoch(state, state.step // per_epoch, len(labels), evaluate)


def take_step(state: State, images: Tensor, labels: Tensor, recipe: Recipe, autocast: torch.autocast) -> None:
    """One optimiser step on images (B, C, H, W) and labels (B,); nothing here waits for the device.

    An epoch's short last batch is not worth compiling another shape for.
    """
    with autocast:
        logits = (state.forward if len(labels) == recipe.batch_size else state.model)(images)
    logits = logits.float()
    loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    loss.backward()
    if recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_norm)
    state.lrs.append(float(state.optimizer.param_groups[0]["lr"]))
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if state.averaged is not None:
        state.averaged.follow(state.model, state.step)
    state.scheduler.step()
    state.step += 1
    with torch.no_grad():
        state.sums += torch.stack([loss.detach() * len(labels), (logits.argmax(1) == labels).sum()])
        bad_now = torch.where(loss.isfinite(), torch.inf, float(state.step))
        state.first_bad = torch.minimum(state.first_bad, bad_now)


def _check(state: State) -> None:
    first_bad = state.first_bad.item()
    if first_bad != float("inf"):
        raise NotFinite(int(first_bad), "train")


def end_epoch(state: State, epoch: int, images: int, evaluate: Evaluate) -> EpochDone:
    """The epoch's numbers, its evaluation among them; the state is ready for the next.

    Raises:
        NotFinite: a validation or test loss is infinite or NaN.
    """
    loss, correct = (state.sums / images).tolist()
    clock = time.perf_counter()
    validation, test = evaluate()
    evaluate_seconds = time.perf_counter() - clock
    if not all(math.isfinite(scores.loss) for scores in (validation, test) if scores):
        raise NotFinite(state.step, "evaluation")
    done = EpochDone(
        time=time.time(),
        epoch=epoch,
        step=state.step,
        train=Scores(loss=loss, accuracy=correct),
        validation=validation,
        test=test,
        lrs=tuple(state.lrs),
        train_seconds=state.seconds,
        evaluate_seconds=evaluate_seconds,
        images_per_second=images / state.seconds,
    )
    state.sums.zero_()
    state.lrs, state.seconds = [], 0.0
    return done
