"""The layers that families share."""

import pytest
import torch
from torch import nn

from models import ModelError
from models.layers import Dropout, Residual, Whitening, conv3x3, dropouts


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


def test_whitening_makes_patches_white():
    """Correlated channels and neighbours go in; what comes out is uncorrelated, of unit variance, the commonest
    pattern first. Training leaves the weights alone."""
    torch.manual_seed(0)
    noise = torch.randn(64, 3, 12, 12)
    images = noise + noise.roll(1, 3) + 2 * noise.mean(1, keepdim=True)
    layer = Whitening(3)
    layer.fit(images, floor=1e-9)
    patches = nn.functional.unfold(images, 3).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close((patches @ layer.weight.flatten(1).T).T.cov(), torch.eye(27), atol=1e-3, rtol=0)
    norms = layer.weight.flatten(1).norm(dim=1)  # the inverse of a pattern's standard deviation
    assert torch.equal(norms, norms.sort().values)
    assert layer(images).shape == (64, 27, 12, 12)
    assert not layer.weight.requires_grad


def test_what_hardly_varies_is_not_blown_up():
    """Images of one colour have no variance in 26 of 27 directions."""
    layer = Whitening(3)
    layer.fit(torch.randn(64, 1, 1, 1).expand(64, 3, 8, 8), floor=1e-2)
    assert layer.weight.flatten(1).norm(dim=1).max() < 10.1


def test_dropouts_is_one_layer_or_none_at_rate_0():
    (dropout,) = dropouts(0.25)
    assert isinstance(dropout, Dropout)
    assert dropout.p == 0.25
    assert dropouts(0.0) == []


def test_dropouts_refuses_a_rate_of_1():
    with pytest.raises(ModelError, match=r"^`model.dropout` must be 0 or more and below 1; got 1\.0$"):
        dropouts(1.0)


@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_every_element_is_dropped_alike_and_independently(rate: float):
    """Over 8,000 masks of 50 elements each element, the first and the last too, is dropped at the rate, and so are
    pairs of neighbours at its square; all within five standard errors. What stays is scaled up.
    """
    torch.manual_seed(0)
    masks = torch.stack([Dropout(rate)(torch.ones(5, 10)).flatten() for _ in range(8000)])
    assert torch.equal(masks.unique(), torch.tensor([0.0, 1 / (1 - rate)]))
    dropped = (masks == 0).double()
    assert (dropped.mean(0) - rate).abs().max() < 5 * (rate * (1 - rate) / 8000) ** 0.5
    pairs = (dropped[:, 1:] * dropped[:, :-1]).mean()
    assert (pairs - rate**2).abs() < 5 * (rate**2 / (8000 * 49)) ** 0.5


def test_dropout_keeps_layout_and_type_and_gradients_follow_the_mask():
    """The result has the input's memory format, so that a channels_last network stays one."""
    images = torch.full((8, 6, 9, 9), 3.0, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    images.requires_grad_()
    out = Dropout(0.05)(images)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert images.grad is not None
    scale = torch.tensor(1 / 0.95, dtype=torch.bfloat16)
    assert torch.equal(images.grad, torch.where(out == 0, 0, scale))
    assert 0 < (out == 0).float().mean() < 0.1


def test_a_gradient_of_another_layout_meets_the_same_elements():
    """Of a loss that takes the network's maps channel by channel, when they lie pixel by pixel."""
    images = torch.ones(4, 6, 5, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    out = Dropout(0.1)(images)
    out.backward(torch.ones(4, 6, 5, 5))
    assert images.grad is not None
    assert torch.equal(images.grad, out)
    assert (out == 0).any()


def test_dropout_is_torchs_own_above_a_tenth_and_in_evaluation():
    """The same seed gives torch's very mask; in evaluation nothing happens, nor to the random state."""
    values = torch.ones(100, 100)
    torch.manual_seed(3)
    expected = nn.Dropout(0.5)(values)
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.5)(values), expected)
    before = torch.get_rng_state()
    assert Dropout(0.05).eval()(values) is values
    assert torch.equal(torch.get_rng_state(), before)
