"""The product's own loop, and its limit: the same step with nothing around it."""

import copy
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from harness.augmentation.normaliser import Normaliser
from harness.augmentation.source import source as build_source
from harness.records.events import EpochDone, Scores
from harness.training.build import build_learner, new_state
from harness.training.device import keep_freed_memory
from harness.training.loop import State, train
from tests.bench.work import LR, MEAN, STD, Loop, Trained, Work


def ours(work: Work) -> Loop:
    """`loop.train` over images that lie on the device, without the evaluation at the end of an epoch."""
    begin = _state(work)
    return _loop(work, [0], lambda: [begin()])


def stacked(work: Work, members: int) -> Loop:
    """The same for so many seeds of the recipe as one."""
    work = work.with_step("stacked")
    return _loop(work, range(members), lambda: [_new_state(work) for _ in range(members)])


def _loop(work: Work, seeds: Sequence[int], begin: Callable[[], list[State]]) -> Loop:
    recipe, device, normaliser = work.recipe, work.device, _normaliser(work)
    pixels, labels = torch.from_numpy(work.images).to(device), torch.from_numpy(work.labels).to(device)
    backend = work.circumstances.augment_backend
    sources = [build_source(recipe.augmentation, backend, pixels, MEAN, seed, device=device) for seed in seeds]
    evaluates = [lambda: (None, Scores(loss=0, accuracy=0))] * len(seeds)

    def loop() -> Trained:
        learner = build_learner(begin(), recipe, work.circumstances, normaliser.autocast)
        work.wait()
        clock = time.perf_counter()
        events = list(train(learner, sources, labels, seeds, recipe, normaliser, evaluates))
        work.wait()
        seconds = time.perf_counter() - clock
        return Trained(seconds, [event.train.loss for _, event in events if isinstance(event, EpochDone)])

    return loop


def _normaliser(work: Work) -> Normaliser:
    return Normaliser.make(MEAN, STD, work.device, work.circumstances.memory_format, work.recipe.precision)


def _new_state(work: Work) -> State:
    model = work.model(_normaliser(work).memory_format)
    return new_state(model, work.recipe, work.circumstances, LR, len(work.labels))


def _state(work: Work) -> Callable[[], State]:
    """The state before the first step, again and again the same object: what was compiled for it stays."""
    if work.device == "cpu":
        keep_freed_memory()
    state = _new_state(work)
    initial = copy.deepcopy(state.state_dict())

    def begin() -> State:
        state.load_state_dict(copy.deepcopy(initial))
        state.model.train()
        return state

    return begin


def bare(work: Work) -> Loop:
    """One batch, normalised beforehand, again and again: forward, loss, backward, optimiser."""
    recipe, normaliser = work.recipe, _normaliser(work)
    inputs = normaliser(torch.from_numpy(work.images[: recipe.batch_size]).to(work.device))
    targets = torch.from_numpy(work.labels[: recipe.batch_size]).to(work.device)

    begin = _state(work)

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
