"""Every loop of the benchmark trains the same model: one that did less work would win for nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from experiments.resnet_onecycle import RECIPE
from harness.augmentation.normaliser import Normaliser
from harness.augmentation.source import source as build_source
from harness.plans.hyperparameters import SGD, Adam, Constant, Optimizer
from harness.plans.spec import Circumstances, Data, Model, Recipe
from tests.bench.notebook import notebook, transform
from tests.bench.ours import bare, ours, stacked
from tests.bench.work import LR, MEAN, STD, Loop, Trained, Work, each, interleave

HERE = Circumstances(device="cpu", threads=1, memory_format="contiguous", step="eager")


@pytest.fixture(params=[SGD(lr=LR), Adam(lr=LR)], ids=["sgd", "adam"])
def work(request: pytest.FixtureRequest, tmp_path: Path) -> Work:
    """An epoch is one batch, so that shuffling changes nothing; no dropout, no augmentation, no other layout."""
    optimizer: Optimizer = request.param
    recipe = Recipe(
        data=Data(name="cifar10"),
        model=Model(name="norm_cnn", dropout=0.0),
        optimizer=optimizer,
        schedule=Constant(),
        epochs=3,
        batch_size=16,
        precision="fp32",
    )
    return replace(Work.of_noise(recipe, HERE, 1, tmp_path), workers=0)


def _learns_as_the_notebook(loop: Loop, work: Work) -> None:
    """Three steps from the same weights, losses within 0.1%: images come in another order, and so sums are rounded."""
    losses, expected = loop().losses, notebook(work)().losses
    assert expected[0] - expected[-1] > 0.4, "it must learn, or all losses are alike"
    np.testing.assert_allclose(losses, expected, rtol=1e-3)


@pytest.mark.parametrize("make", [ours, bare])
def test_ours_and_the_bare_step_learn_as_the_notebooks_loop(make: Callable[[Work], Loop], work: Work) -> None:
    _learns_as_the_notebook(make(work), work)


def test_lightnings_trainer_learns_as_the_notebooks_loop(work: Work) -> None:
    """Lightning comes with `make bench` alone."""
    pytest.importorskip("pytorch_lightning")
    from tests.bench.trainer import trainer

    _learns_as_the_notebook(trainer(work), work)


def test_the_stacked_loop_learns_as_the_notebooks_loop(work: Work) -> None:
    """Each of its members, epoch by epoch."""
    losses = stacked(work, 2)().losses
    expected = [loss for loss in notebook(work)().losses for _ in range(2)]
    np.testing.assert_allclose(losses, expected, rtol=1e-3)


def test_a_notebooks_network_is_ours_with_torchs_layers(tmp_path: Path) -> None:
    """The same weights and the same logits; no layer's class is ours, and no ReLU saves itself memory."""
    model = Model(name="norm_cnn", dropout=0.05)
    recipe = Recipe(data=Data(name="cifar10"), model=model, optimizer=SGD(lr=LR), epochs=1)
    work = Work.of_noise(recipe, HERE, 1, tmp_path)
    theirs, own = work.torchs_model(), work.model()
    layers = [layer for layer in theirs.modules() if not list(layer.children())]
    assert {type(layer).__module__.split(".")[0] for layer in layers} == {"torch"}
    assert {layer.p for layer in layers if isinstance(layer, nn.Dropout)} == {0.05}
    assert not any(layer.inplace for layer in layers if isinstance(layer, nn.ReLU))
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(theirs.eval()(images), own.eval()(images))


def test_loops_take_turns_and_the_first_round_only_warms_up(capsys: pytest.CaptureFixture[str]) -> None:
    """A B, A B, A B: speeds are images by seconds, ratios are taken round by round."""
    calls: list[str] = []
    seconds = {"a": iter([9.0, 1.0, 2.0]), "b": iter([9.0, 2.0, 8.0])}

    def loop(name: str) -> Loop:
        return lambda: (calls.append(name), Trained(next(seconds[name]), []))[1]

    speeds = interleave({name: loop(name) for name in "ab"}, images=16, rounds=2, title="two")
    assert calls == ["a", "b"] * 3
    assert speeds == {"a": [16.0, 8.0], "b": [8.0, 2.0]}
    assert each(speeds, "a", "b") == (2.0, 4.0)
    assert capsys.readouterr().out.splitlines()[-1] == "two round 2/2 b: 2 images/s"


def test_both_augmentations_give_what_a_network_takes(work: Work) -> None:
    """From the same uint8 images, float32 inputs of the same size, with the cut-out square at the mean."""
    pixels = torch.from_numpy(work.images)
    (augmented,) = build_source(RECIPE.augmentation, "batched", pixels, MEAN, 0).batches(0, [torch.arange(16)])
    batched = Normaliser.make(MEAN, STD, "cpu", "channels_last", "fp32")(augmented)
    library = np.stack([transform(True)(image=image)["image"] for image in work.images]).transpose(0, 3, 1, 2)
    for inputs in (batched.numpy(), library):
        assert (inputs.shape, inputs.dtype) == ((16, 3, 32, 32), np.float32)
        assert ((np.abs(inputs) < 0.02).all(1).sum((1, 2)) >= 64).all()
