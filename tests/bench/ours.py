"""The product's own loop, and its limit: the same step with nothing around it."""

import copy
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from harness.augmentation.source import source as build_source
from harness.records.events import EpochDone, Scores
from harness.training.build import new_state
from harness.training.device import keep_freed_memory
from harness.training.evaluate import Normaliser
from harness.training.loop import State, train
from harness.training.stacked import Stack
from harness.training.stacked import train as train_fused
from tests.bench.work import LR, MEAN, STD, Loop, Trained, Work


def ours(work: Work) -> Loop:
    """`loop.train` over images that lie on the device, without the evaluation at the end of an epoch."""
    recipe, device = work.recipe, work.recipe.device
    pixels, labels = torch.from_numpy(work.images).to(device), torch.from_numpy(work.labels).to(device)
    source = build_source(recipe.augmentation, recipe.augment_backend, pixels, MEAN, 0, device=device)
    normaliser = Normaliser.make(MEAN, STD, device, recipe.memory_format, recipe.precision)

    begin = _state(work, normaliser)

    def loop() -> Trained:
        state = begin()
        work.wait()
        clock = time.perf_counter()
        events = list(train(state, source, labels, recipe, 0, normaliser, lambda: (None, Scores(loss=0, accuracy=0))))
        work.wait()
        seconds = time.perf_counter() - clock
        return Trained(seconds, [event.train.loss for event in events if isinstance(event, EpochDone)])

    return loop


def fused(work: Work, members: int) -> Loop:
    """So many seeds of the recipe as one, through `harness.training.stacked`."""
    recipe, device = work.recipe.model_copy(update={"step": "fused"}), work.recipe.device
    pixels, labels = torch.from_numpy(work.images).to(device), torch.from_numpy(work.labels).to(device)
    seeds = range(members)
    sources = [
        build_source(recipe.augmentation, recipe.augment_backend, pixels, MEAN, seed, device=device) for seed in seeds
    ]
    normaliser = Normaliser.make(MEAN, STD, device, recipe.memory_format, recipe.precision)
    scored = [lambda: (None, Scores(loss=0, accuracy=0))] * members

    def loop() -> Trained:
        states = [new_state(work.model(normaliser.memory_format), recipe, LR, len(labels)) for _ in seeds]
        stack = Stack(states, recipe)
        work.wait()
        clock = time.perf_counter()
        events = list(train_fused(stack, sources, labels, seeds, normaliser, scored))
        work.wait()
        seconds = time.perf_counter() - clock
        return Trained(seconds, [event.train.loss for _, event in events if isinstance(event, EpochDone)])

    return loop


def _state(work: Work, normaliser: Normaliser) -> Callable[[], State]:
    """The state before the first step, again and again the same object: what was compiled for it stays."""
    if work.recipe.device == "cpu":
        keep_freed_memory()
    state = new_state(work.model(normaliser.memory_format), work.recipe, LR, len(work.labels))
    initial = copy.deepcopy(state.state_dict())

    def begin() -> State:
        state.load_state_dict(copy.deepcopy(initial))
        state.model.train()
        return state

    return begin


def bare(work: Work) -> Loop:
    """One batch, normalised beforehand, again and again: forward, loss, backward, optimiser."""
    recipe, device = work.recipe, work.recipe.device
    normaliser = Normaliser.make(MEAN, STD, device, recipe.memory_format, recipe.precision)
    inputs = normaliser(torch.from_numpy(work.images[: recipe.batch_size]).to(device))
    targets = torch.from_numpy(work.labels[: recipe.batch_size]).to(device)

    begin = _state(work, normaliser)

    def loop() -> Trained:
        state = begin()
        optimizer = state.optimizer
        work.wait()
        losses: list[torch.Tensor] = []
        clock = time.perf_counter()
        for _ in range(work.steps * recipe.epochs):
            with normaliser.autocast:
                logits = state.forward(inputs)
            loss = functional.cross_entropy(logits.float(), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
        work.wait()
        seconds = time.perf_counter() - clock
        per_epoch = torch.stack(losses).view(recipe.epochs, work.steps)
        return Trained(seconds, per_epoch.mean(1).tolist())

    return loop
