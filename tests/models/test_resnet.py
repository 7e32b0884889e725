"""`resnet` beyond what holds for every model."""

from itertools import pairwise

import pytest
import torch
from torch import nn

import models


def test_a_dropout_of_the_given_rate_follows_each_of_the_8_relus():
    layers = [module for module in models.build("resnet", dropout=0.05).modules() if not list(module.children())]
    dropouts = [layer for layer in layers if isinstance(layer, nn.Dropout)]
    after_relu = [b for a, b in pairwise(layers) if isinstance(a, nn.ReLU)]
    assert [dropout.p for dropout in dropouts] == [0.05] * 8
    assert after_relu == dropouts


def test_no_dropout_layer_at_rate_0():
    assert not [module for module in models.build("resnet").modules() if isinstance(module, nn.Dropout)]


@pytest.mark.parametrize("block", ["residual1", "residual2"])
def test_the_sum_of_a_residual_block_goes_on_as_it_is(block: str):
    model = models.build("resnet").eval().get_submodule(block)
    channels = next(model.parameters()).shape[0]
    x = torch.randn(1, channels, 4, 4)
    assert torch.equal(model(x), x + model.get_submodule("branch")(x))
    assert (model(x) < 0).any()


def test_no_relu_stands_between_a_residual_block_and_the_next_convolution_or_pool():
    model = models.build("resnet")
    names = [name for name, _ in model.named_children()]
    following = [names[names.index(block) + 1] for block in ("residual1", "residual2")]
    assert following == ["layer2", "pool"]
    assert isinstance(next(model.get_submodule("layer2").children()), nn.Conv2d)
    assert isinstance(model.get_submodule("pool"), nn.MaxPool2d)


@pytest.mark.parametrize(("image_size", "window"), [(8, 1), (28, 3), (32, 4), (33, 4), (64, 8)])
def test_the_last_pool_covers_the_map_that_is_left(image_size: int, window: int):
    summary = models.summarize(models.build("resnet", image_size=image_size), (3, image_size, image_size))
    shapes = {layer.name: layer.output_shape for layer in summary.layers}
    assert shapes["residual2.branch.1.2"] == (512, window, window)
    assert shapes["pool"] == (512, 1, 1)


def test_only_the_head_may_have_a_bias_beside_the_norms():
    def biased(model: nn.Module) -> list[str]:
        layers = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        return [name for name, layer in layers if layer.bias is not None]

    assert biased(models.build("resnet")) == []
    assert biased(models.build("resnet", head_bias=True)) == ["head"]


def test_whitening_stands_before_a_1x1_convolution_and_is_not_trained():
    """729 of its weights are fixed; the 1x1 convolution takes the 3x3 one's place."""
    model = models.build("resnet", whitening=True)
    assert sum(p.numel() for p in model.parameters()) == 6_573_849
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["prep.0.weight"]
    assert model.get_parameter("prep.1.weight").shape == (64, 27, 1, 1)


def test_the_head_is_scaled():
    """Not the weights: the logits."""
    torch.manual_seed(0)
    plain = models.build("resnet").eval()
    torch.manual_seed(0)
    scaled = models.build("resnet", head_scale=0.125).eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(scaled(images), plain(images) / 8)
    with pytest.raises(models.ModelError, match=r"^`model.head_scale` must be above 0; got 0\.0$"):
        models.build("resnet", head_scale=0.0)


def test_images_below_8_pixels_are_refused():
    with pytest.raises(models.ModelError, match=r"^`model.image_size` must be 8 or more; got 7$"):
        models.check("resnet", {"image_size": 7})
