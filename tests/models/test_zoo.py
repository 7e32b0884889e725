"""What holds for every registered model with every option (after timm's tests/test_models.py)."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.nn import functional

import models
from models import registry


def choices(name: str) -> Iterator[dict[str, Any]]:
    """Each value of each option that has a few, all others at their defaults."""
    for option, parameter in registry._parameters(models.builder(name)).items():
        values = (True, False) if isinstance(parameter.default, bool) else get_args(parameter.annotation)
        yield from ({option: value} for value in values if value != parameter.default)


CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, options) for name in models.names() for options in ({}, *choices(name))),
    ("resnet", {"dropout": 0.05, "head_bias": True, "head_scale": 0.125, "width": 8}),
    ("resnet", {"in_channels": 1, "image_size": 15, "classes": 7}),
    ("norm_cnn", {"norm": "layer_chw", "head": "gap"}),
    ("norm_cnn", {"dropout": 0.0}),
    *(("norm_cnn", {"image_size": size}) for size in (20, 35)),
    *(("norm_cnn", {"head": "gap", "in_channels": 1, "image_size": size, "classes": 100}) for size in (8, 40)),
    ("norm_cnn", {"norm": "layer_chw", "head": "gap", "image_size": 37}),
    ("norm_cnn", {"norm": "instance", "head": "gap", "image_size": 12}),
    ("mnist_cnn", {"in_channels": 3, "image_size": 32, "classes": 5}),
    ("mnist_cnn", {"image_size": 16}),
]
every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value).replace(" ", ""))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Test processes already fill the cores; threads on top of them only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(name: str, options: dict[str, Any], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return models.build(name, **options)


def batch(name: str, options: dict[str, Any], size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (size, C, S, S) and labels (size,), the same every time."""
    full: dict[str, Any] = models.options(name) | options
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(size, full["in_channels"], full["image_size"], full["image_size"], generator=generator)
    return images, torch.randint(full["classes"], (size,), generator=generator)


@every_case
def test_logits_are_finite_one_a_class_and_every_trained_parameter_learns(name: str, options: dict[str, Any]):
    """In channels_last the logits are the same but for rounding."""
    model, (images, labels) = build(name, options), batch(name, options)
    logits = model(images)
    assert logits.shape == (4, (models.options(name) | options)["classes"])
    assert logits.isfinite().all()
    functional.cross_entropy(logits, labels).backward()
    for parameter_name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name
    with torch.no_grad():
        expected = model.eval()(images)
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] torch's stub lacks it
        last = model(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", models.names())
def test_the_model_returns_logits_not_probabilities(name: str):
    logits = build(name, {}).eval()(batch(name, {})[0])
    assert (logits < 0).any()
    assert not torch.allclose(logits.exp().sum(1), torch.ones(4), atol=0.1)


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("resnet", {}, 6_573_120),
        ("resnet", {"head_bias": True}, 6_573_130),
        ("resnet", {"dropout": 0.1}, 6_573_120),
        ("norm_cnn", {"norm": "batch"}, 31_216),
        ("norm_cnn", {"norm": "group"}, 31_216),
        ("norm_cnn", {"norm": "layer"}, 31_216),
        ("norm_cnn", {"norm": "instance"}, 31_216),
        ("norm_cnn", {"norm": "layer_chw"}, 126_296),
        ("norm_cnn", {"norm": "none"}, 30_856),
        ("norm_cnn", {"head": "gap"}, 31_216),
        ("mnist_cnn", {}, 593_200),
    ],
)
def test_parameter_counts_are_the_published_ones(name: str, options: dict[str, Any], parameters: int):
    assert sum(parameter.numel() for parameter in models.build(name, **options).parameters()) == parameters


@every_case
def test_weights_follow_from_the_seed_and_may_be_stacked(name: str, options: dict[str, Any]):
    """The same seed gives the same weights, another one others. vmap over stacked networks of both computes each one's
    logits, in training mode, so with running statistics stacked too; dropout, which draws, is off."""
    options = options | ({"dropout": 0.0} if "dropout" in models.options(name) else {})
    first, again, other = (build(name, options, seed) for seed in (0, 0, 1))
    weights, same, others = (model.state_dict() for model in (first, again, other))
    assert all(torch.equal(weights[key], same[key]) for key in weights)
    assert any(not torch.equal(weights[key], others[key]) for key in weights)
    pair, (images, _) = [first, other], batch(name, options)
    parameters, buffers = torch.func.stack_module_state(pair)

    def logits(parameters: dict[str, Any], buffers: dict[str, Any]) -> torch.Tensor:
        return torch.func.functional_call(first, (parameters, buffers), (images,))

    stacked = torch.vmap(logits)(parameters, buffers)
    torch.testing.assert_close(stacked, torch.stack([model(images) for model in pair]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", models.names())
def test_initialisation_is_torchs_default(name: str):
    """Resetting every layer in building order from the same seed gives the weights back."""
    built = build(name, {}).state_dict()
    again = models.build(name)
    torch.manual_seed(0)
    for module in again.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.reset_parameters()
    assert all(torch.equal(built[key], value) for key, value in again.state_dict().items())


@pytest.mark.parametrize("name", models.names())
def test_the_model_compiles_as_one_graph(name: str):
    model, (images, _) = build(name, {}).eval(), batch(name, {})
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), model(images))
