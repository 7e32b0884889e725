"""Predictions in evaluation mode, and scores by hand."""

import itertools
import math

import pytest
import torch
from torch import nn

import models
from harness.augmentation.normaliser import Normaliser
from harness.training import evaluate
from harness.training.build import DeviceData
from harness.training.evaluate import Interrupted, predict, score

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@pytest.fixture
def normaliser() -> Normaliser:
    return Normaliser.make(MEAN, STD, "cpu", "contiguous", "fp32")


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return models.build("norm_cnn", image_size=12, classes=3, head="gap", dropout=0.5)


@pytest.mark.parametrize("training", [True, False])
def test_prediction_is_in_evaluation_mode_and_leaves_no_trace(
    data: DeviceData, normaliser: Normaliser, model: nn.Module, training: bool
) -> None:
    """Dropout off, BatchNorm's running statistics used and kept; mode, buffers and random state are as before."""
    images = data.test.images
    pixels = (images.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        expected = model.eval()(pixels)
    model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    logits = predict(model, images, normaliser)
    torch.testing.assert_close(logits, expected)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    assert all(module.training is training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_prediction_stops_when_asked(
    data: DeviceData, normaliser: Normaliser, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked before each of four batches; the third time it says so."""
    monkeypatch.setattr(evaluate, "CPU_BATCH", 7)
    asked = itertools.count(1)
    with pytest.raises(Interrupted):
        predict(model, data.test.images, normaliser, lambda: next(asked) == 3)
    assert next(asked) == 4


def test_batches_do_not_change_predictions(
    data: DeviceData, normaliser: Normaliser, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 images in batches of 7, the last one of 3, give what one batch gives, in the same order."""
    whole = predict(model, data.test.images, normaliser)
    monkeypatch.setattr(evaluate, "CPU_BATCH", 7)
    torch.testing.assert_close(predict(model, data.test.images, normaliser), whole)


def test_flipping_takes_the_mean_with_the_mirror_image(
    data: DeviceData, normaliser: Normaliser, model: nn.Module
) -> None:
    """Left and right change places, not top and bottom."""
    images = data.test.images
    both = (predict(model, images, normaliser) + predict(model, images.flip(2), normaliser)) / 2
    torch.testing.assert_close(predict(model, images, normaliser, flip=True), both)


def test_score_by_hand() -> None:
    """Mean cross entropy in nats and the fraction right, per example; a loss that is not finite comes through."""
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0], [0.0, math.log(4)], [math.log(9), 0.0]])
    scores = score(logits, torch.tensor([0, 1, 1, 1]))
    assert scores.loss == pytest.approx((math.log(4 / 3) + math.log(2) + math.log(5 / 4) + math.log(10)) / 4)
    assert scores.accuracy == 0.5  # a tie goes to the first class
    assert math.isnan(score(torch.full((1, 2), torch.nan), torch.tensor([0])).loss)
