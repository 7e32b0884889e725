"""Grad-CAM finds the place that decides, on a network that is made so that the place is known."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from torch import nn

import models
from harness.artifacts import explain
from harness.artifacts.weights import Trained
from harness.values import HarnessError

needs_captum = pytest.mark.skipif(importlib.util.find_spec("captum") is None, reason="the extra `explain` is missing")


class _Brightness(nn.Module):
    """Class 1 is how bright an image is at its brightest place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        nn.init.constant_(self.conv.weight, 1.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = self.conv(images).amax((1, 2, 3))
        return torch.stack([torch.zeros_like(bright), bright], 1)


@needs_captum
def test_the_map_is_bright_where_the_class_was_seen() -> None:
    """A spot in a corner raises the logit there and nowhere else."""
    images = np.zeros((2, 16, 16, 1), np.uint8)
    images[0, 2:5, 3:6] = images[1, 10:13, 12:15] = 255
    found = explain.heat_maps(Trained(_Brightness(), ("dark", "bright"), (0.0,), (1.0,), False), images, [1, 1])
    assert found.shape == (2, 16, 16)
    assert [np.unravel_index(each.argmax(), each.shape) for each in found] == [(3, 4), (11, 13)]
    assert found[0, 8:].max() == 0


@needs_captum
@pytest.mark.parametrize("name", models.names())
def test_every_model_can_be_explained(name: str) -> None:
    """Each has a convolution with places; a map is of the image's size and of 0..1."""
    torch.manual_seed(0)
    options = models.options(name)
    channels, size = int(options["in_channels"]), int(options["image_size"])
    trained = Trained(models.build(name).eval(), tuple("abcdefghij"), (0.5,) * channels, (0.2,) * channels, False)
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, channels), dtype=np.uint8)
    found = explain.heat_maps(trained, images, [0, 1])
    assert found.shape == (2, size, size)
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6


def test_a_network_without_places_is_refused() -> None:
    with pytest.raises(HarnessError, match=r"^explain needs a convolution with a spatial output larger than 1x1"):
        explain.last_map(nn.Flatten(), torch.zeros(1, 1, 4, 4))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "captum" else sys)
    with pytest.raises(HarnessError, match=r"^explain needs captum: pip install captum \(extra `explain`\)$"):
        explain.require()


def test_the_figure_says_which_class_a_map_is_of() -> None:
    """The image under its true class, then the map of the predicted class, with its confidence, and of the true one."""
    images, heat = np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 8, 8), np.float32)
    drawn = explain.figure(images, heat, heat, [("frog", "bird", 0.621)])
    assert [text.get_text() for axes in drawn.axes for text in axes.texts] == ["frog", "for bird, 62%", "for frog"]
