"""Parameters, multiply-adds and receptive fields against torchinfo and against figures worked out by hand."""

import copy
from typing import Any

import pytest
import torch
import torchinfo
from torch import nn

import models

CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in models.names()),
    ("resnet", {"head_bias": True, "dropout": 0.05, "image_size": 64}),
    *(("norm_cnn", {"norm": norm}) for norm in ("group", "layer_chw", "instance", "none")),
    ("norm_cnn", {"head": "gap", "in_channels": 1, "image_size": 50, "classes": 7}),
    ("mnist_cnn", {"in_channels": 3, "image_size": 32, "classes": 100}),
]


def shape_of(name: str, options: dict[str, Any]) -> tuple[int, int, int]:
    full: dict[str, Any] = models.options(name) | options
    return full["in_channels"], full["image_size"], full["image_size"]


def summary_of(name: str, **options: Any) -> models.ModelSummary:
    return models.summarize(models.build(name, **options), shape_of(name, options))


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value).replace(" ", ""))
def test_torchinfo_counts_the_same_parameters_and_multiply_adds(name: str, options: dict[str, Any]):
    """torchinfo adds the weights of norms to its total, so its convolutions and linear layers are summed here."""
    model, shape = models.build(name, **options), shape_of(name, options)
    summary = models.summarize(model, shape)
    oracle = torchinfo.summary(model, input_size=(1, *shape), verbose=0)
    counted = [row for row in oracle.summary_list if row.class_name in ("Conv2d", "Linear")]
    assert summary.parameters == oracle.total_params
    assert summary.multiply_adds == sum(row.macs for row in counted)
    ours = [layer for layer in summary.layers if layer.kind in ("Conv2d", "Linear")]
    assert [(a.parameters, a.multiply_adds, list(a.output_shape)) for a in ours] == [
        (b.num_params, b.macs, list(b.output_size[1:])) for b in counted
    ]


def test_torchinfo_counts_the_same_for_grouped_strided_convolutions_with_a_bias():
    model = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, groups=4), nn.ReLU(), nn.Conv2d(8, 2, (1, 3)), nn.Flatten())
    oracle = torchinfo.summary(model, input_size=(1, 4, 17, 15), verbose=0)
    assert models.summarize(model, (4, 17, 15)).multiply_adds == oracle.total_mult_adds > 0


def test_resnet_takes_379_million_multiply_adds_an_image():
    assert summary_of("resnet").multiply_adds == 379_261_952


@pytest.mark.parametrize(
    ("name", "options", "pixels"),
    [
        ("resnet", {}, 88),
        ("resnet", {"image_size": 64}, 120),
        ("norm_cnn", {}, 56),
        ("norm_cnn", {"norm": "layer_chw"}, 56),
        ("norm_cnn", {"head": "gap"}, 68),
        ("mnist_cnn", {}, 28),
    ],
)
def test_receptive_field_at_the_head(name: str, options: dict[str, Any], pixels: int):
    summary = summary_of(name, **options)
    assert summary.receptive_field == pixels
    assert next(layer for layer in summary.layers if layer.name == "head").receptive_field == pixels


def test_receptive_field_grows_as_seed_004s_comments_say_up_to_the_second_pool():
    fields = [
        layer.receptive_field for layer in summary_of("mnist_cnn").layers if layer.kind in ("Conv2d", "MaxPool2d")
    ]
    assert fields == [3, 5, 6, 10, 14, 16]


def test_the_model_its_training_flag_and_the_random_state_stay_as_they_were():
    model = models.build("resnet", dropout=0.5)
    model.get_submodule("prep").eval()
    weights = copy.deepcopy(model.state_dict())
    training = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    models.summarize(model, (3, 32, 32))
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == training
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_in_half_precision_has_the_same_summary():
    model = models.build("norm_cnn")
    assert models.summarize(model.to(torch.bfloat16), (3, 32, 32)) == summary_of("norm_cnn")


class Arms(nn.Module):
    """Two convolutions side by side, joined by a sum, or by concatenation along an axis."""

    def __init__(self, join: str | int) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 7, padding=3)
        self.join = join

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.narrow(x), self.wide(x)
        return torch.cat([b, a], self.join) if isinstance(self.join, int) else a + b


@pytest.mark.parametrize("join", ["sum", 1])
def test_the_widest_arm_counts_where_arms_meet(join: str | int):
    assert models.summarize(Arms(join), (2, 9, 9)).receptive_field == 7


def test_maps_laid_side_by_side_have_no_receptive_field():
    """Neighbours on the joined map are no longer neighbours in the image."""
    assert models.summarize(Arms(2), (2, 9, 9)).receptive_field is None


@pytest.mark.parametrize(
    ("layers", "pixels"),
    [
        ([nn.Conv2d(1, 1, 3, stride=2), nn.Conv2d(1, 1, 3)], 3 + 2 * 2),
        ([nn.Conv2d(1, 1, 3, dilation=2)], 5),
        ([nn.AvgPool2d(3, stride=1), nn.AdaptiveAvgPool2d(1)], 12),  # the average of the 10x10 map that is left
        ([nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(100, 1)], 12),
        ([nn.MaxPool2d(2), nn.ConvTranspose2d(1, 1, 2)], None),  # not known
        ([nn.Conv2d(1, 1, (1, 3))], None),  # not square
        ([nn.AdaptiveAvgPool2d(5)], None),  # windows of different sizes
        ([nn.Linear(12, 12)], None),  # mixes the columns of a map
    ],
)
def test_receptive_field_of_single_layers_or_none_where_it_is_not_known(layers: list[nn.Module], pixels: int | None):
    assert models.summarize(nn.Sequential(*layers), (1, 12, 12)).receptive_field == pixels


def test_layers_before_an_unknown_one_keep_their_receptive_field():
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ConvTranspose2d(1, 1, 2), nn.ReLU())
    assert [layer.receptive_field for layer in models.summarize(model, (1, 8, 8)).layers] == [3, None, None]


class Branching(nn.Module):
    """Takes its way by the batch size, which a trace does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Conv2d(1, 2, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(x) if x.shape[0] < 100 else x


def test_a_network_that_cannot_be_traced_has_no_receptive_field_but_all_the_rest():
    expected = models.LayerSummary("output", "Conv2d", (2, 6, 6), 18, 18 * 36, None)
    assert models.summarize(Branching(), (1, 8, 8)) == models.ModelSummary(18, 18 * 36, None, (expected,))


class Twice(nn.Module):
    """One convolution called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Conv2d(1, 1, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.output(torch.relu(self.output(x))))


def test_a_layer_called_twice_has_one_row_that_adds_its_calls_up():
    expected = models.LayerSummary("output", "Conv2d", (1, 4, 4), 9, 9 * 36 + 9 * 16, 5)
    assert models.summarize(Twice(), (1, 8, 8)) == models.ModelSummary(9, 9 * 36 + 9 * 16, 5, (expected,))


def test_an_image_of_another_shape_is_torchs_own_error():
    with pytest.raises(RuntimeError, match="channel"):
        models.summarize(models.build("resnet"), (1, 32, 32))


def test_format_is_a_plain_table_with_totals():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.ConvTranspose2d(16, 1, 2))
    assert models.format_summary(models.summarize(model, (3, 32, 32))).splitlines() == [
        "layer  kind             output    parameters  multiply-adds  field",
        "------------------------------------------------------------------",
        "0      Conv2d           16x30x30         448        403,200      3",
        "1      ReLU             16x30x30           0              0      3",
        "2      ConvTranspose2d  1x31x31           65              0      -",
        "------------------------------------------------------------------",
        "total                                    513        403,200      -",
    ]
