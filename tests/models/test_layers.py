"""The layers that families share."""

import pytest
import torch
from torch import nn

from models import ModelError
from models.layers import Residual, conv3x3, dropouts


def test_a_residual_adds_its_branch_and_nothing_follows_the_sum():
    """A ReLU after the sum would make these zero."""
    negative = torch.full((1, 2, 3, 3), -1.5)
    assert torch.equal(Residual(nn.Identity())(negative), torch.full((1, 2, 3, 3), -3.0))


def test_a_residual_leaves_its_input_alone():
    images = torch.randn(1, 2, 3, 3)
    before = images.clone()
    Residual(nn.Sequential(conv3x3(2, 2), nn.ReLU()))(images)
    assert torch.equal(images, before)


def test_conv3x3_has_no_bias_and_keeps_the_map_unless_unpadded():
    images = torch.zeros(1, 2, 9, 9)
    assert conv3x3(2, 5).bias is None
    assert conv3x3(2, 5)(images).shape == (1, 5, 9, 9)
    assert conv3x3(2, 5, padding=0)(images).shape == (1, 5, 7, 7)


def test_dropouts_is_one_layer_or_none_at_rate_0():
    (dropout,) = dropouts(0.25)
    assert isinstance(dropout, nn.Dropout)
    assert dropout.p == 0.25
    assert dropouts(0.0) == []


def test_dropouts_refuses_a_rate_of_1():
    with pytest.raises(ModelError, match=r"^`model.dropout` must be 0 or more and below 1; got 1\.0$"):
        dropouts(1.0)
