"""The LR range test (Smith 2017, arXiv:1506.01186), by torch-lr-finder 0.2.2, made safe to build on.

The library restores weights and optimiser but not the random state, sweeps on through NaN losses and suggests a rate
all the same. Here the sweep works on a copy of the network, the random state is put back, the first loss that is not
finite ends it, and no suggestion is drawn from a sweep that failed.
"""

import contextlib
import copy
import io
import itertools
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import TqdmExperimentalWarning

from harness.augmentation.batches import epoch_batches
from harness.augmentation.normaliser import Normaliser
from harness.augmentation.source import Source
from harness.plans.spec import Recipe
from harness.records.events import LRFound
from harness.training.evaluate import Interrupted, ShouldStop
from harness.training.loop import NotFinite
from harness.training.optimizers import build_optimizer
from harness.values import HarnessError

SKIP_START, SKIP_END = 10, 5
"""Points at the sweep's ends that the suggestion ignores: torch-lr-finder's own defaults."""


class LRFinderError(HarnessError):
    """A sweep from which no rate can be suggested."""


def find_lr(
    model: nn.Module,
    source: Source,
    labels: Tensor,
    recipe: Recipe,
    seed: int,
    normaliser: Normaliser,
    stop: ShouldStop = lambda: False,
) -> LRFound:
    """Sweep the learning rate over a copy of `model`; the model and every random state are as before.

    Args:
        source, labels: as for `train`; batches come in the order of epoch 0, and the next epochs' if it is too short.

    Raises:
        NotFinite: a loss was infinite or NaN, at this iteration of the sweep.
        LRFinderError: too few points before it diverged, or a loss that never fell.
        Interrupted: `stop`, asked before every iteration, said so.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmExperimentalWarning)  # it imports tqdm.autonotebook
        import torch_lr_finder
        from torch_lr_finder.lr_finder import TrainDataLoaderIter

    values = recipe.lr_finder
    assert values is not None
    clock = time.perf_counter()
    mps = torch.mps.get_rng_state() if labels.is_mps else None  # fork_rng keeps those of the CPU and of this GPU alone
    with torch.random.fork_rng([labels.device] if labels.is_cuda else []):
        swept = _Autocast(copy.deepcopy(model), normaliser.autocast)
        optimizer = build_optimizer(swept, recipe, values.start_lr)
        if recipe.clip_norm is not None:  # the finder knows nothing of it
            optimizer.register_step_pre_hook(_clipping(swept, recipe.clip_norm))
        batches = TrainDataLoaderIter(_Batches(source, labels, recipe, seed, normaliser, stop))
        finder = torch_lr_finder.LRFinder(swept, optimizer, _FiniteLoss(recipe.label_smoothing), device=labels.device)
        shown = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
        with contextlib.redirect_stdout(io.StringIO()), shown:  # it prints, and draws its bar into logs too
            finder.range_test(
                batches,
                start_lr=values.start_lr,
                end_lr=values.end_lr,  # pyright: ignore[reportArgumentType] it takes any number
                num_iter=values.iterations,
                smooth_f=values.smoothing,
                diverge_th=values.diverge_threshold,  # pyright: ignore[reportArgumentType] as above
            )
    if mps is not None:
        torch.mps.set_rng_state(mps)
    lrs, losses = finder.history["lr"], finder.history["loss"]
    return LRFound(
        time=time.time(),
        lrs=tuple(map(float, lrs)),
        losses=tuple(map(float, losses)),
        suggestion=suggest(lrs, losses, values.suggestion),
        seconds=time.perf_counter() - clock,
    )


def suggest(lrs: Sequence[float], losses: Sequence[float], rule: str = "steepest") -> float:
    """The rate that a sweep suggests, its first ten and last five points left out.

    Args:
        rule: "steepest", as torch-lr-finder's `plot(suggest_lr=True)` has it, or "minimum_tenth"; see `LRFinder`.

    Raises:
        LRFinderError: fewer than 17 points, or a loss that falls nowhere.
    """
    if len(lrs) < SKIP_START + SKIP_END + 2:
        raise LRFinderError(
            f"`lr_finder` diverged after {len(lrs)} iterations, too few for a suggestion; lower lr_finder.start_lr "
            f"(it was {lrs[0]:.3g})"
        )
    used = np.array(losses[SKIP_START:-SKIP_END])
    slopes = np.gradient(used)
    if slopes.min() >= 0:
        raise LRFinderError(
            f"`lr_finder` saw no falling loss between {lrs[0]:.3g} and {lrs[-1]:.3g}; widen lr_finder.start_lr and "
            "end_lr, or give optimizer.lr a number"
        )
    if rule == "steepest":
        return float(lrs[SKIP_START + int(slopes.argmin())])
    return float(lrs[SKIP_START + int(used.argmin())]) / 10


def _clipping(model: nn.Module, largest: float) -> Callable[..., None]:
    def clip(*_: object) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), largest)

    return clip


class _Autocast(nn.Module):
    """Runs a network under the run's own precision: the finder knows only fp16 with a gradient scaler."""

    def __init__(self, inner: nn.Module, autocast: torch.autocast):
        super().__init__()
        self.inner, self.autocast = inner, autocast

    def forward(self, images: Tensor) -> Tensor:
        with self.autocast:
            return self.inner(images).float()


class _FiniteLoss(nn.Module):
    def __init__(self, label_smoothing: float):
        super().__init__()
        self.label_smoothing, self.iteration = label_smoothing, 0

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.iteration += 1
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        if not loss.isfinite():
            raise NotFinite(self.iteration, "lr_finder")
        return loss


class _Batches:
    """Training batches without end, as the finder wants them: (images (B, C, H, W), labels (B,))."""

    def __init__(
        self, source: Source, labels: Tensor, recipe: Recipe, seed: int, normaliser: Normaliser, stop: ShouldStop
    ):
        self.source, self.labels, self.normaliser, self.stop = source, labels, normaliser, stop
        self.batch_size, self.seed = recipe.batch_size, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for epoch in itertools.count():
            for images, targets in epoch_batches([self.source], self.labels, [self.seed], epoch, self.batch_size):
                if self.stop():
                    raise Interrupted
                yield self.normaliser(images[0]), targets[0]
