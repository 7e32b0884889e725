"""The training loop for one run or several stacked runs; it yields events and writes nothing.

`train` yields a `StepDone` after every optimiser step and an `EpochDone` after every epoch; its clock is stopped while
the caller handles them. `State` is complete between any two steps: training that is resumed from a saved state is equal
bit for bit to uninterrupted training.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LRScheduler

from harness.augmentation.batches import epoch_batches
from harness.augmentation.normaliser import Normaliser
from harness.augmentation.source import Source
from harness.plans.plan import steps_per_epoch
from harness.plans.spec import Recipe
from harness.records.events import EpochDone, Scores
from harness.training.average import Average

Evaluate = Callable[[], tuple[Scores | None, Scores]]
"""Returns the current network's scores on the validation split (None if there is none) and on the test split."""


@dataclass(frozen=True)
class StepDone:
    """`step` of `total` optimiser steps are done."""

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
    """Everything that changes while a run trains."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    forward: Callable[[Tensor], Tensor]
    """The model or its compiled form, applied to full batches."""
    averaged: Average | None = None
    step: int = 0
    """Number of optimiser steps taken."""
    sums: Tensor = field(default_factory=lambda: torch.zeros(2))
    """Sum of losses and number of correct predictions in the epoch so far, on the device."""
    first_bad: Tensor = field(default_factory=lambda: torch.tensor(torch.inf))
    """The first step with a loss that was not finite (infinity if none), on the device."""
    lrs: list[float] = field(default_factory=list)
    """Learning rate of every step of the epoch so far; empty once the epoch has been evaluated."""
    seconds: float = 0.0
    """Training time of the epoch so far."""

    @property
    def network(self) -> nn.Module:
        """The network that is evaluated and saved: the moving average if there is one, else the model."""
        return self.model if self.averaged is None else self.averaged.module

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain numbers, including random states."""
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
        """Load a saved state into the existing objects."""
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


class Learner(Protocol):
    """Takes optimiser steps for one network (`Alone`) or several at once (`stacked.Stack`)."""

    @property
    def states(self) -> Sequence[State]:
        """The state of each run, all at the same step."""
        ...

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Take one optimiser step for every run: images (M, B, C, H, W), labels (M, B)."""
        ...

    def first_bad_steps(self) -> dict[int, int]:
        """Run → its first step with a loss that was not finite, for runs that have one; waits for the device."""
        ...


class Alone:
    """The learner of one run."""

    def __init__(self, state: State, recipe: Recipe, autocast: torch.autocast):
        self.states, self._recipe, self._autocast = [state], recipe, autocast

    def step(self, images: Tensor, labels: Tensor) -> None:
        """`Learner.step` with M = 1."""
        take_step(self.states[0], images[0], labels[0], self._recipe, self._autocast)

    def first_bad_steps(self) -> dict[int, int]:
        """As `Learner.first_bad_steps`."""
        first = self.states[0].first_bad.item()
        return {} if first == math.inf else {0: int(first)}


Event = tuple[int, StepDone | EpochDone | NotFinite]
"""(Index of the learner's run, event). Step events are attributed to the first run that still trains."""


def train(
    learner: Learner,
    sources: Sequence[Source],
    labels: Tensor,
    seeds: Sequence[int],
    recipe: Recipe,
    normaliser: Normaliser,
    evaluates: Sequence[Evaluate],
) -> Iterator[Event]:
    """Train a learner's runs from their current states to the recipe's last epoch.

    A run with an infinite or NaN training, validation or test loss ends with `NotFinite`; the others continue. Time is
    divided equally among stacked runs.

    Args:
        sources: the source of augmented images of each run, uint8 on the device.
        labels: shape (N,), int64, on the device.
        seeds: the seed of each run.
        evaluates: the evaluation function of each run.

    Yields:
        Events with the index of the run that they belong to.
    """
    states, count = learner.states, len(labels)
    per_epoch = steps_per_epoch(count, recipe.batch_size)
    total, alive = recipe.epochs * per_epoch, list(range(len(states)))
    while True:
        for number in [n for n in alive if states[n].lrs and states[n].step % per_epoch == 0]:
            ended = _end_epoch(states[number], per_epoch, count, evaluates[number])
            yield number, ended
            if isinstance(ended, NotFinite):
                alive.remove(number)
        if not alive or states[0].step == total:
            return
        epoch, first = divmod(states[0].step, per_epoch)
        for state in states:
            state.model.train()
        clock = time.perf_counter()
        for images, targets in epoch_batches(sources, labels, seeds, epoch, recipe.batch_size, first):
            learner.step(normaliser(images.flatten(0, 1)).unflatten(0, images.shape[:2]), targets)
            last = states[0].step % per_epoch == 0
            bad = (
                learner.first_bad_steps() if last or not labels.is_cuda else {}
            )  # on CUDA the host synchronises once per epoch
            share = (time.perf_counter() - clock) / len(states)
            for state in states:
                state.seconds += share
            for number in [n for n in alive if n in bad]:
                yield number, NotFinite(bad[number], "train")
                alive.remove(number)
            if not alive:
                return
            if not last:
                yield alive[0], StepDone(states[0].step, total)
            clock = time.perf_counter()


def take_step(state: State, images: Tensor, labels: Tensor, recipe: Recipe, autocast: torch.autocast) -> None:
    """Take one optimiser step on images (B, C, H, W) and labels (B,), without synchronising with the device.

    A smaller last batch uses the uncompiled model, because compiling for its shape would not pay.
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


def _end_epoch(state: State, per_epoch: int, images: int, evaluate: Evaluate) -> EpochDone | NotFinite:
    try:
        return end_epoch(state, state.step // per_epoch, images, evaluate)
    except NotFinite as error:
        return error


def end_epoch(state: State, epoch: int, images: int, evaluate: Evaluate) -> EpochDone:
    """Evaluate, return the epoch's numbers, and reset the state for the next epoch.

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
