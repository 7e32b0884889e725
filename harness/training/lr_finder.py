"""The LR range test (Smith 2017, arXiv:1506.01186) by torch-lr-finder 0.2.2, with additional checks.

The library restores weights and optimiser but not the random state, and continues after NaN losses and still suggests a
rate. Here the test runs on a copy of the network, the random state is restored, the first loss that is not finite ends
the test, and a failed test gives no suggestion.
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
"""Numbers of points at both ends that the suggestion ignores; torch-lr-finder's defaults."""


class LRFinderError(HarnessError):
    """An LR range test that gives no suggestion."""


def find_lr(
    model: nn.Module,
    source: Source,
    labels: Tensor,
    recipe: Recipe,
    seed: int,
    normaliser: Normaliser,
    stop: ShouldStop = lambda: False,
) -> LRFound:
    """Run the test on a copy of `model`; the model and all random states are unchanged.

    Args:
        source, labels: as for `train`; batches are in the order of epoch 0, followed by further epochs if needed.
        stop: polled before every iteration.

    Raises:
        NotFinite: a loss was infinite or NaN; `step` is the iteration.
        LRFinderError: the loss diverged after too few iterations, or never fell.
        Interrupted: `stop` returned True.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmExperimentalWarning)  # it imports tqdm.autonotebook
        import torch_lr_finder
        from torch_lr_finder.lr_finder import TrainDataLoaderIter

    values = recipe.lr_finder
    assert values is not None
    clock = time.perf_counter()
    mps = torch.mps.get_rng_state() if labels.is_mps else None  # fork_rng covers only the CPU and this GPU
    with torch.random.fork_rng([labels.device] if labels.is_cuda else []):
        swept = _Autocast(copy.deepcopy(model), normaliser.autocast)
        optimizer = build_optimizer(swept, recipe, values.start_lr)
        if recipe.clip_norm is not None:  # the library does not support clipping
            optimizer.register_step_pre_hook(_clipping(swept, recipe.clip_norm))
        batches = TrainDataLoaderIter(_Batches(source, labels, recipe, seed, normaliser, stop))
        finder = torch_lr_finder.LRFinder(swept, optimizer, _FiniteLoss(recipe.label_smoothing), device=labels.device)
        shown = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
        with contextlib.redirect_stdout(io.StringIO()), shown:  # it prints, and shows a bar in logs too
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
    """The suggested rate, ignoring the first ten and last five points.

    Args:
        rule: "steepest", as in torch-lr-finder's `plot(suggest_lr=True)`, or "minimum_tenth"; see `LRFinder`.

    Raises:
        LRFinderError: there are fewer than 17 points, or the loss never falls.
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
    """Runs a network in the run's precision, since the library supports only fp16 with a gradient scaler."""

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
    """An endless iterable of training batches, as the library requires: (images (B, C, H, W), labels (B,))."""

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
