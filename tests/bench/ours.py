"""The product's own loop, and its limit: the same step with nothing around it."""

import time

import torch
from torch.nn import functional

from harness.augment import source as build_source
from harness.evaluate import Normaliser
from harness.facts import EpochDone, Scores
from harness.optim import build_optimizer
from harness.parts import new_state
from harness.train import train
from tests.bench.work import LR, MEAN, STD, Loop, Trained, Work


def ours(work: Work) -> Loop:
    """`harness.train.train` over images that lie on the device, without the evaluation at the end of an epoch."""
    recipe, device = work.recipe, work.recipe.device
    pixels, labels = torch.from_numpy(work.images).to(device), torch.from_numpy(work.labels).to(device)
    source = build_source(recipe.augmentation, recipe.augment_backend, pixels, MEAN, 0, device=device)
    normaliser = Normaliser.make(MEAN, STD, device, recipe.memory_format, recipe.precision)

    def loop() -> Trained:
        model = work.model(normaliser.memory_format)
        state = new_state(model, recipe, LR, len(labels))
        clock = time.perf_counter()
        events = list(train(state, source, labels, recipe, 0, normaliser, lambda: (None, Scores(loss=0, accuracy=0))))
        work.wait()
        seconds = time.perf_counter() - clock
        return Trained(seconds, [event.train.loss for event in events if isinstance(event, EpochDone)])

    return loop


def bare(work: Work) -> Loop:
    """One batch, normalised beforehand, again and again: forward, loss, backward, optimiser."""
    recipe, device = work.recipe, work.recipe.device
    normaliser = Normaliser.make(MEAN, STD, device, recipe.memory_format, recipe.precision)
    inputs = normaliser(torch.from_numpy(work.images[: recipe.batch_size]).to(device))
    targets = torch.from_numpy(work.labels[: recipe.batch_size]).to(device)

    def loop() -> Trained:
        model = work.model(normaliser.memory_format)
        optimizer = build_optimizer(model, recipe, LR)
        work.wait()
        losses: list[torch.Tensor] = []
        clock = time.perf_counter()
        for _ in range(work.steps * recipe.epochs):
            with normaliser.autocast:
                logits = model(inputs)
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
