"""`mnist_cnn` beyond what holds for every model."""

import pytest
import torch
from torch.nn import functional

import models


@pytest.mark.parametrize(("image_size", "features"), [(16, 256), (28, 4096), (32, 6400), (33, 6400)])
def test_the_first_linear_layer_follows_the_image_size(image_size: int, features: int):
    assert models.build("mnist_cnn", image_size=image_size).get_parameter("hidden.weight").shape == (50, features)


def test_the_network_computes_the_forward_in_seed_004s_text():
    model = models.build("mnist_cnn").eval()
    images = torch.randn(3, 1, 28, 28)
    layers = ("block1.0", "block1.2", "block2.0", "block2.2", "hidden", "head")
    conv1, conv2, conv3, conv4, fc1, fc2 = (model.get_submodule(name) for name in layers)
    x = functional.relu(conv1(images))
    x = functional.relu(functional.max_pool2d(conv2(x), 2))
    x = functional.relu(conv3(x))
    x = functional.relu(functional.max_pool2d(conv4(x), 2))
    x = x.view(-1, 4096)
    x = fc2(functional.relu(fc1(x)))
    torch.testing.assert_close(model(images), x)


def test_layers_have_the_parameters_of_seed_004s_forward():
    summary = models.summarize(models.build("mnist_cnn"), (1, 28, 28))
    rows = [(layer.kind, layer.output_shape, layer.parameters) for layer in summary.layers if layer.parameters]
    assert rows == [
        ("Conv2d", (32, 26, 26), 320),
        ("Conv2d", (64, 24, 24), 18_496),
        ("Conv2d", (128, 10, 10), 73_856),
        ("Conv2d", (256, 8, 8), 295_168),
        ("Linear", (50,), 204_850),
        ("Linear", (10,), 510),
    ]


def test_images_below_16_pixels_are_refused():
    with pytest.raises(models.ModelError, match=r"^`model.image_size` must be 16 or more; got 15$"):
        models.check("mnist_cnn", {"image_size": 15})
