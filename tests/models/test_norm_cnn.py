"""`norm_cnn` beyond what holds for every model."""

import pytest
import torch
from torch import nn

import models

CHANNELS = [16, 20, 20, 24, 28, 20, 24, 28]
SIZES = [30, 28, 14, 14, 14, 7, 7, 7]
NORMS = nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm | nn.InstanceNorm2d


def norms_of(**options: object) -> list[nn.Module]:
    return [module for module in models.build("norm_cnn", **options).modules() if isinstance(module, NORMS)]


@pytest.mark.parametrize(("norm", "groups"), [("group", 4), ("layer", 1)])
def test_group_has_4_groups_and_layer_one(norm: str, groups: int):
    norms = norms_of(norm=norm)
    assert [(type(n), n.num_groups, n.num_channels) for n in norms if isinstance(n, nn.GroupNorm)] == [
        (nn.GroupNorm, groups, channels) for channels in CHANNELS
    ]
    assert len(norms) == 8


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm2d), ("instance", nn.InstanceNorm2d)])
def test_batch_and_instance_are_torchs_own_with_weights(norm: str, kind: type[nn.BatchNorm2d | nn.InstanceNorm2d]):
    norms = [module for module in norms_of(norm=norm) if isinstance(module, kind)]
    assert [module.num_features for module in norms] == CHANNELS
    assert all(module.affine for module in norms)


def test_layer_chw_normalises_over_channels_and_positions_with_a_weight_for_each():
    norms = [module for module in norms_of(norm="layer_chw") if isinstance(module, nn.LayerNorm)]
    assert [module.normalized_shape for module in norms] == [(c, s, s) for c, s in zip(CHANNELS, SIZES, strict=True)]


def test_none_leaves_the_norm_out():
    assert norms_of(norm="none") == []
    assert not [m for m in models.build("norm_cnn", norm="none").modules() if isinstance(m, nn.Identity)]


@pytest.mark.parametrize("norm", ["batch", "group", "layer", "layer_chw", "instance"])
def test_relu_norm_dropout_follow_each_3x3_convolution_and_nothing_follows_a_1x1(norm: str):
    layers = [module for module in models.build("norm_cnn", norm=norm).modules() if not list(module.children())]
    spatial = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
    bare = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)]
    assert len(spatial) == 8
    for i in spatial:
        relu, normalisation, dropout = layers[i + 1 : i + 4]
        assert isinstance(relu, nn.ReLU)
        assert isinstance(normalisation, NORMS)
        assert isinstance(dropout, nn.Dropout)
        assert dropout.p == 0.01
    assert [type(layers[i + 1]) for i in bare] == [nn.MaxPool2d, nn.MaxPool2d, nn.Flatten]
    assert all(layer.bias is None for layer in layers if isinstance(layer, nn.Conv2d))


def influence_of_the_last_map(head: str) -> torch.Tensor:
    """(7, 7) bool: which positions of the 7x7 map that enters the head change a logit."""
    model = models.build("norm_cnn", head=head)
    last_map = torch.randn(2, 28, 7, 7, requires_grad=True)
    after = nn.Sequential(*(model.get_submodule(name) for name in ("pool", "head", "flatten")))
    after(last_map).abs().sum().backward()
    assert last_map.grad is not None
    return last_map.grad.abs().sum((0, 1)) > 0


def test_avgpool4_sees_the_top_left_4x4_only():
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[:4, :4] = True
    assert torch.equal(influence_of_the_last_map("avgpool4"), expected)


def test_gap_sees_the_whole_map():
    assert influence_of_the_last_map("gap").all()


@pytest.mark.parametrize("image_size", [8, 19, 36, 224])
def test_avgpool4_refuses_images_that_its_window_does_not_fit_once_and_points_to_gap(image_size: int):
    with pytest.raises(models.ModelError) as caught:
        models.check("norm_cnn", {"image_size": image_size})
    assert str(caught.value) == (
        "`model.image_size` must be 20 to 35 with head=avgpool4 (it needs a last map of 4 to 7 pixels; use head=gap); "
        f"got {image_size}"
    )
    models.check("norm_cnn", {"image_size": image_size, "head": "gap"})


def test_avgpool4_takes_exactly_the_images_whose_last_map_is_4_to_7_pixels():
    def last_map(image_size: int) -> int:
        model = models.build("norm_cnn", head="gap", image_size=image_size)
        layers = models.summarize(model, (3, image_size, image_size)).layers
        return next(layer.output_shape[-1] for layer in layers if layer.name == "block3.2.0")

    def is_taken(image_size: int) -> bool:
        try:
            models.check("norm_cnn", {"image_size": image_size})
        except models.ModelError:
            return False
        return True

    sizes = range(16, 40)
    assert [size for size in sizes if is_taken(size)] == [size for size in sizes if 4 <= last_map(size) <= 7]
    assert is_taken(20)


@pytest.mark.parametrize("head", ["avgpool4", "gap"])
def test_images_below_8_pixels_are_refused(head: str):
    with pytest.raises(models.ModelError, match=r"^`model.image_size` must be 8 or more; got 7$"):
        models.check("norm_cnn", {"image_size": 7, "head": head})


def test_instance_refuses_a_last_map_of_one_position_where_its_statistic_means_nothing():
    options: dict[str, object] = {"norm": "instance", "head": "gap", "image_size": 11}
    message = r"^`model.image_size` must be 12 or more with norm=instance, a statistic over positions; got 11$"
    with pytest.raises(models.ModelError, match=message):
        models.check("norm_cnn", options)
    models.check("norm_cnn", options | {"image_size": 12})
    models.check("norm_cnn", options | {"norm": "batch"})


def test_a_dropout_rate_of_1_is_refused():
    with pytest.raises(models.ModelError, match=r"^`model.dropout` must be 0 or more and below 1; got 1\.0$"):
        models.check("norm_cnn", {"dropout": 1.0})
