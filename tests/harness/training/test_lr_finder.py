"""The range test: torch-lr-finder's own suggestion, without its side effects and without its blind spots."""

import contextlib
import copy
import io
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

import models
from harness.augmentation.batches import epoch_order
from harness.augmentation.normaliser import Normaliser
from harness.augmentation.source import source
from harness.plans.hyperparameters import SGD, LRFinder
from harness.plans.spec import Recipe
from harness.records.events import LRFound
from harness.training.build import DeviceData
from harness.training.loop import NotFinite
from harness.training.lr_finder import LRFinderError, find_lr, suggest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch_lr_finder

NORMALISER = Normaliser.make((0.4,) * 3, (0.2,) * 3, "cpu", "contiguous", "fp32")
SWEEP = LRFinder(start_lr=1e-4, end_lr=1.0, iterations=30, smoothing=0.0, diverge_threshold=100.0)
STEEP = SWEEP.model_copy(update={"start_lr": 1e-2})


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return models.build("norm_cnn", image_size=12, classes=3, head="gap", dropout=0.2)


@pytest.fixture
def swept(recipe: Recipe) -> Recipe:
    """30 iterations at 5 batches an epoch: six passes over the data."""
    return recipe.model_copy(update={"lr_finder": SWEEP, "optimizer": SGD(lr="find", momentum=0.0)})


def find(model: nn.Module, data: DeviceData, recipe: Recipe) -> LRFound:
    images = source((), "auto", data.train.images, (0.4,) * 3, 0)
    return find_lr(model, images, data.train.labels, recipe, seed=0, normaliser=NORMALISER)


def plotted(lrs: list[float], losses: list[float]) -> float:
    """What the library's own plot suggests for this history."""
    layer = nn.Linear(1, 1)
    finder = torch_lr_finder.LRFinder(layer, torch.optim.SGD(layer.parameters(), lr=0.1), nn.MSELoss())
    finder.history = {"lr": lrs, "loss": losses}
    with contextlib.redirect_stdout(io.StringIO()):
        plot: Any = finder.plot(ax=Figure().subplots())
    return plot[1]


def test_suggestion_is_the_librarys_own() -> None:
    """The steepest point of a history, as `plot(suggest_lr=True)` has it."""
    for seed in range(10):
        losses = np.random.default_rng(seed).random(27 + seed).tolist()
        lrs = np.geomspace(1e-6, 1, len(losses)).tolist()
        assert suggest(lrs, losses) == plotted(lrs, losses)


def test_the_other_rule_takes_a_tenth_of_the_lowest_loss_rate() -> None:
    """The lowest loss between the ends that are left out (10 points and 5): lower ones there do not count."""
    lrs = np.geomspace(1e-6, 1, 40).tolist()
    losses = [2.0 - 0.01 * number for number in range(40)]
    losses[20], losses[3], losses[37] = 0.5, 0.1, 0.1
    assert suggest(lrs, losses, "minimum_tenth") == lrs[20] / 10


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_sweep_is_what_the_recipe_asks_for(
    model: nn.Module, data: DeviceData, swept: Recipe, clip_norm: float | None
) -> None:
    """Rates rise geometrically between the given limits; losses are those of plain SGD at those rates, batch by batch,
    its gradient clipped where training's is.

    Batches come in the order of epoch 0, then of epoch 1: eight steps by hand, three of them in the second.
    """
    found = find(model, data, swept.model_copy(update={"clip_norm": clip_norm, "lr_finder": STEEP}))
    assert len(found.lrs) == 30
    np.testing.assert_allclose(found.lrs, np.geomspace(1e-2, 1.0, 30), rtol=1e-6)
    torch.manual_seed(0)
    plain = models.build("norm_cnn", image_size=12, classes=3, head="gap", dropout=0.2)
    order = [index for epoch in (0, 1) for index in epoch_order(0, epoch, 72).split(16)][:8]
    for index, lr, loss in zip(order, found.lrs, found.losses, strict=False):
        now = functional.cross_entropy(plain(NORMALISER(data.train.images[index])), data.train.labels[index])
        assert loss == pytest.approx(now.item(), rel=1e-4)
        plain.zero_grad()
        now.backward()
        if clip_norm is not None:
            assert nn.utils.clip_grad_norm_(plain.parameters(), clip_norm) > 2 * clip_norm
        with torch.no_grad():
            for parameter in plain.parameters():
                assert parameter.grad is not None
                parameter -= lr * parameter.grad


def test_model_and_random_state_are_untouched(model: nn.Module, data: DeviceData, swept: Recipe) -> None:
    """Weights, BatchNorm's buffers, gradients, mode and the random state are as before, though dropout drew from it."""
    before = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    first, again = find(model, data, swept), find(model, data, swept)
    assert first.losses == again.losses
    assert first.suggestion == suggest(first.lrs, first.losses)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


def test_a_sweep_on_the_cpu_touches_no_gpu(
    model: nn.Module, data: DeviceData, swept: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default all GPUs' random states would be kept: a context on each, and a warning where there are several."""

    def touched(*_: object) -> None:
        raise AssertionError("a GPU's random state was asked for")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", touched)
    assert find(model, data, swept).lrs


class NanAt(nn.Module):
    """A network whose logits are NaN at one call; the count is shared by copies."""

    def __init__(self, inner: nn.Module, call: int):
        super().__init__()
        self.inner, self.at = inner, call
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(images) * (torch.nan if self.calls.item() == self.at else 1.0)


@pytest.mark.parametrize("call", [1, 12])
def test_a_loss_that_is_not_finite_ends_the_sweep(model: nn.Module, data: DeviceData, swept: Recipe, call: int) -> None:
    """The library alone would go on and suggest a rate; here the iteration is named, the random state put back."""
    random = torch.get_rng_state()
    with pytest.raises(NotFinite) as raised:
        find(NanAt(model, call), data, swept)
    assert (raised.value.step, raised.value.where) == (call, "lr_finder")
    assert torch.equal(torch.get_rng_state(), random)


def test_a_sweep_that_diverged_early_suggests_nothing(model: nn.Module, data: DeviceData, swept: Recipe) -> None:
    """From far too high the loss explodes within a few steps: too few points; the text says what to lower."""
    wild = LRFinder(start_lr=10.0, end_lr=1e4, iterations=100, smoothing=0.0, diverge_threshold=1.5)
    rule = (
        r"^`lr_finder` diverged after \d+ iterations, too few for a suggestion; lower lr_finder.start_lr \(it was 10\)$"
    )
    with pytest.raises(LRFinderError, match=rule):
        find(model, data, swept.model_copy(update={"lr_finder": wild}))
    lrs, losses = np.geomspace(1e-6, 1, 17).tolist(), np.linspace(2, 1, 17).tolist()
    with pytest.raises(LRFinderError, match="diverged after 16 iterations"):
        suggest(lrs[:16], losses[:16])
    assert suggest(lrs, losses) == lrs[10]


@pytest.mark.parametrize("losses", [[2.3] * 40, np.linspace(1, 2, 40).tolist()], ids=["flat", "rising"])
def test_a_loss_that_never_fell_suggests_nothing(losses: list[float]) -> None:
    """The least steep rise is no suggestion; the text names the range and what to do."""
    rule = (
        r"^`lr_finder` saw no falling loss between 1e-06 and 1; widen lr_finder.start_lr and end_lr, or give "
        r"optimizer.lr a number$"
    )
    with pytest.raises(LRFinderError, match=rule):
        suggest(np.geomspace(1e-6, 1, 40).tolist(), losses)
