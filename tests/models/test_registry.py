"""The registry: names to builders, and what it refuses."""

import sys
from types import ModuleType
from typing import Literal

import pytest
import torch
from torch import nn

import models
from models import registry

NAMES = ", ".join(models.names()) + ", torchvision/<name>, timm/<name> or <module>:<function>"
NORM_OPTIONS = "norm, dropout, head, in_channels, image_size, classes"


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))


def test_importing_the_package_registers_every_family_sorted():
    assert {"mnist_cnn", "norm_cnn", "resnet"} <= set(models.names())
    assert list(models.names()) == sorted(models.names())


def test_options_are_the_builders_arguments_with_their_defaults_in_order():
    assert list(models.options("resnet").items()) == [
        ("width", 64),
        ("dropout", 0.0),
        ("head_bias", False),
        ("whitening", False),
        ("head_scale", 1.0),
        ("in_channels", 3),
        ("image_size", 32),
        ("classes", 10),
    ]
    assert models.options("mnist_cnn") == {"in_channels": 1, "image_size": 28, "classes": 10}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnt", {}, f"`model.name` must be one of {NAMES}; got 'resnt'; did you mean 'resnet'?"),
        ("zzz", {}, f"`model.name` must be one of {NAMES}; got 'zzz'"),
        (
            "norm_cnn",
            {"nrm": "batch"},
            f"`model.nrm` is not an option of norm_cnn ({NORM_OPTIONS}); did you mean 'norm'?",
        ),
        ("norm_cnn", {"zzz": 1}, f"`model.zzz` is not an option of norm_cnn ({NORM_OPTIONS})"),
        (
            "norm_cnn",
            {"norm": "grp"},
            "`model.norm` must be one of batch, group, layer, layer_chw, instance, none; got 'grp'; "
            "did you mean 'group'?",
        ),
        ("norm_cnn", {"head": 4}, "`model.head` must be one of avgpool4, gap; got 4"),
        ("norm_cnn", {"head": None}, "`model.head` must be one of avgpool4, gap; got None"),
        ("resnet", {"dropout": "0.1"}, "`model.dropout` must be a number; got '0.1'"),
        ("resnet", {"dropout": True}, "`model.dropout` must be a number; got True"),
        ("resnet", {"head_bias": 1}, "`model.head_bias` must be true or false; got 1"),
        ("resnet", {"classes": True}, "`model.classes` must be a whole number; got True"),
        ("resnet", {"classes": 10.0}, "`model.classes` must be a whole number; got 10.0"),
        ("resnet", {"classes": 1}, "`model.classes` must be 2 or more; got 1"),
        ("resnet", {"in_channels": 0}, "`model.in_channels` must be 1 or more; got 0"),
        ("resnet", {"dropout": 1}, "`model.dropout` must be 0 or more and below 1; got 1"),
        ("resnet", {"dropout": -0.1}, "`model.dropout` must be 0 or more and below 1; got -0.1"),
        ("resnet", {"dropout": float("nan")}, "`model.dropout` must be 0 or more and below 1; got nan"),
    ],
)
def test_check_and_build_refuse_the_same_with_the_same_line(name: str, options: dict[str, object], message: str):
    for refuse in (lambda: models.check(name, options), lambda: models.build(name, **options)):
        with pytest.raises(models.ModelError) as caught:
            refuse()
        assert str(caught.value) == message


def test_options_of_an_unknown_model_are_refused_with_the_nearest_name():
    with pytest.raises(models.ModelError, match=r"got 'norm_cn'; did you mean 'norm_cnn' or 'mnist_cnn'\?$"):
        models.options("norm_cn")


def test_a_whole_number_is_taken_where_a_number_is_asked():
    models.check("resnet", {"dropout": 0})
    assert not any(isinstance(module, nn.Dropout) for module in models.build("resnet", dropout=0).modules())


def test_check_costs_no_random_numbers_and_no_memory():
    """The linear layer asked for here would hold 17 billion weights."""
    state = torch.get_rng_state()
    models.check("mnist_cnn", {"image_size": 4640})
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("own_registry")
def test_a_builder_is_known_under_its_own_name_with_its_own_choices():
    @models.register
    def tiny(width: Literal["narrow", "wide"] = "wide", in_channels: int = 1, image_size: int = 4, classes: int = 2):
        return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, classes, bias=width == "wide"))

    assert "tiny" in models.names()
    assert models.build("tiny", width="narrow", classes=3)(torch.zeros(5, 1, 4, 4)).shape == (5, 3)
    with pytest.raises(models.ModelError, match=r"^`model.width` must be one of narrow, wide; got 'wid'; did you mean"):
        models.check("tiny", {"width": "wid"})


@pytest.mark.usefixtures("own_registry")
def test_a_name_that_is_taken_is_refused_and_the_first_builder_stays():
    def resnet(in_channels: int = 3, image_size: int = 32, classes: int = 10) -> nn.Module:
        return nn.Identity()

    with pytest.raises(models.ModelError) as caught:
        models.register(resnet)
    assert str(caught.value) == f"model 'resnet' is registered twice: in models.resnet and {__name__}"
    assert "dropout" in models.options("resnet")


@pytest.mark.usefixtures("own_registry")
def test_builders_whose_options_could_not_be_checked_are_refused_in_one_line():
    """The model, where it is, which argument, and the rule: whoever writes a first model reads this."""

    def unsized(classes: int = 10) -> nn.Module:
        return nn.Identity()

    def listed(sizes: tuple = (), in_channels: int = 3, image_size: int = 32, classes: int = 10) -> nn.Module:
        return nn.Identity()

    def undecided(depth: int, in_channels: int = 3, image_size: int = 32, classes: int = 10) -> nn.Module:
        return nn.Identity()

    for builder, said in (
        (unsized, " must take the keyword arguments image_size, in_channels, which the data fill in"),
        (listed, ": `sizes` must be annotated as bool, int, float or a Literal of strings"),
        (undecided, ": `depth` must have a default"),
    ):
        with pytest.raises(models.ModelError) as caught:
            models.register(builder)
        assert str(caught.value) == f"model {builder.__name__!r} in {__name__}{said}"


@pytest.mark.usefixtures("own_registry")
def test_a_model_that_gives_no_logits_or_fails_is_refused_once_the_images_size_is_known():
    """As a first model goes wrong: a pair in place of logits, too few classes, layers that do not fit each other, a
    builder that fails. Nothing is left in the random numbers."""

    class Pair(nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images, images

    def paired(in_channels: int = 3, image_size: int = 32, classes: int = 10) -> nn.Module:
        return Pair()

    def narrow(in_channels: int = 3, image_size: int = 32, classes: int = 10) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, 10))

    def unfitting(in_channels: int = 3, image_size: int = 32, classes: int = 10) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3072, classes))

    def failing(in_channels: int = 3, image_size: int = 32, classes: int = 10) -> nn.Module:
        raise KeyError

    state, sizes = torch.get_rng_state(), {"in_channels": 1, "image_size": 8, "classes": 7}
    for builder, said in (
        (paired, "must give logits (images, 7) and nothing else; of 2 images it gives a tuple"),
        (narrow, "must give logits (images, 7) and nothing else; of 2 images it gives (2, 10)"),
        (unfitting, "cannot be built for, or shown, images of 1x8x8 (RuntimeError: mat1 and mat2 shapes cannot be "),
        (failing, "cannot be built for, or shown, images of 1x8x8 (KeyError: no message); set data.image_size, mend"),
    ):
        models.register(builder)
        with pytest.raises(models.ModelError) as caught:
            models.check(builder.__name__, sizes)
        assert str(caught.value).startswith(f"`model.name`: {builder.__name__} {said}")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_file_of_models_that_registers_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commonest thing to forget."""
    monkeypatch.setitem(sys.modules, "models.mine", ModuleType("models.mine"))
    with pytest.raises(
        models.ModelError, match=r"got 'mine'; models/mine\.py registers no model of that name: put @reg"
    ):
        models.builder("mine")


@pytest.mark.usefixtures("own_registry")
def test_a_model_that_looks_at_numbers_is_shown_real_ones():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(images.flatten(1)) * (1 if images.sum().item() else 2)

    def counting(in_channels: int = 1, image_size: int = 2, classes: int = 2) -> nn.Module:
        return Counting()

    models.register(counting)
    models.check("counting", {"image_size": 2})
