"""Networks of torchvision, timm and import paths, through the same registry as our own."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import models
from models import outside, registry
from models.lookup import _try

SIZES = {"in_channels": 1, "image_size": 32, "classes": 7}


@pytest.mark.parametrize(
    ("name", "pools", "parameters"),
    [
        # torchvision's own count at 1,000 classes and 3 channels, less what the smaller head and stem have fewer
        ("torchvision/resnet18", 0, 11_689_512 - 993 * 513 - 64 * (3 * 49 - 9)),
        ("torchvision/squeezenet1_1", 2, 1_235_496 - 993 * 513 - 64 * (3 * 9 - 9)),
        ("torchvision/vgg11", 5, 132_863_336 - 993 * 4097 - 64 * (3 * 9 - 9)),
        ("timm/resnet18", 0, 11_689_512 - 993 * 513 - 64 * (3 * 49 - 9)),
    ],
)
def test_head_and_stem_are_fitted_to_small_images(name: str, pools: int, parameters: int) -> None:
    """The first convolution of 3x3 and stride 1, no max pool behind it, one channel, seven classes; VGG, whose first
    convolution has stride 1, keeps its max pools."""
    with torch.device("meta"):
        network = models.build(name, **SIZES)
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    assert (first.kernel_size, first.stride, first.padding, first.in_channels) == ((3, 3), (1, 1), (1, 1), 1)
    assert sum(isinstance(module, nn.MaxPool2d) for module in network.modules()) == pools
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network.training


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/resnet18"])
def test_larger_images_and_stem_own_keep_the_familys_stem(name: str) -> None:
    """Above 64 pixels, or where it is asked for: 7x7 of stride 2 and a max pool."""
    for options in ({"image_size": 65}, {"image_size": 32, "stem": "own"}):
        network = models.build(name, **options)
        first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        assert (first.kernel_size, first.stride) == ((7, 7), (2, 2))
        assert isinstance(network.get_submodule("maxpool"), nn.MaxPool2d)


def test_a_patch_embedding_stays() -> None:
    """Its kernel is its stride, and the position embedding is as long as there are patches."""
    network = models.build("timm/vit_tiny_patch16_224", **SIZES)
    assert network.get_parameter("pos_embed").shape == (1, 5, 192)
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    assert (first.kernel_size, first.stride) == ((16, 16), (16, 16))


def test_weights_follow_from_the_seed() -> None:
    first, again = (_seeded("torchvision/mobilenet_v3_small") for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def _seeded(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return models.build(name, **SIZES).state_dict()


def test_timms_dropout_is_an_option() -> None:
    network = models.build("timm/resnet18", drop_rate=0.3)
    assert network.drop_rate == 0.3
    assert list(models.options("timm/resnet18")) == [
        *("stem", "drop_rate", "drop_path_rate", "in_channels", "image_size", "classes")
    ]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("torchvision/resnet81", {}, "`model.name` must be one of the 80 classifiers that torchvision lists; got "
         "'torchvision/resnet81'; did you mean 'torchvision/resnet18' or "),
        ("mobilenet_v2", {}, "; got 'mobilenet_v2'; did you mean 'torchvision/mobilenet_v2'?"),
        ("timm/fasterrcnn", {}, "classifiers that timm lists; got 'timm/fasterrcnn'"),
        ("torchvision/resnet18", {"depth": 3}, "`model.depth` is not an option of torchvision/resnet18 (stem, "
         "in_channels, image_size, classes)"),
        ("torchvision/resnet18", {"stem": "fited"}, "`model.stem` must be one of fitted, own; got 'fited'; did you "
         "mean 'fitted'?"),
        ("timm/resnet18", {"drop_rate": "high"}, "`model.drop_rate` must be a number; got 'high'"),
        ("torchvision/maxvit_t", SIZES, "`model.name`: torchvision/maxvit_t cannot be built for, or shown, images of "
         "1x32x32 (ValueError: Input size (8, 8) of block 0 is not divisible by partition size 7"),
        ("timm/vgg11", SIZES | {"drop_path_rate": 0.1}, "`model.name`: timm/vgg11 cannot be built for, or shown, "
         "images of 1x32x32 (TypeError: "),
        ("no_such_package.nets:make", {}, "`model.name`: there is no module 'no_such_package' in the project's folder "
         "or among what is installed; got 'no_such_package.nets:make'"),
        ("json:dmps", {}, "`model.name`: json has no function 'dmps'; did you mean 'dumps' or 'dump'?"),
        ("json:dumps", {}, "model 'json:dumps' in json must take the keyword arguments classes, image_size, "
         "in_channels"),
        ("my nets:make", {}, "`model.name` must be an import path such as my_package.nets:make; got 'my nets:make'"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)  # fmt: skip
def test_what_cannot_be_used_is_one_line_before_anything_trains(name: str, options: dict, said: str) -> None:
    state = torch.get_rng_state()
    with pytest.raises(models.ModelError) as caught:
        models.check(name, options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BUILDERS", {})
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(models.ModelError) as caught:
        models.builder("timm/resnet18")
    said = "`model.name`: timm/resnet18 needs the package timm, which is not installed: pip install timm"
    assert str(caught.value) == said


MINE = """from torch import nn

from my_nets.blocks import head


class Flat(nn.Module):
    def __init__(self, in_channels: int = 3, image_size: int = 32, classes: int = 10, wide: bool = False):
        super().__init__()
        self.head = head(in_channels * image_size**2, classes * (2 if wide else 1))

    def forward(self, x):
        return self.head(x.flatten(1))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`my_nets`, importable; its builder takes a layer from another file of the package."""
    (tmp_path / "my_nets").mkdir()
    (tmp_path / "my_nets" / "__init__.py").write_text("")
    (tmp_path / "my_nets" / "blocks.py").write_text(
        "from torch import nn\n\n\ndef head(a, b):\n    return nn.Linear(a, b)\n"
    )
    (tmp_path / "my_nets" / "flat.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))
    yield tmp_path / "my_nets"
    _try.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_nets"]:
        del sys.modules[name]


@pytest.mark.usefixtures("package")
def test_a_function_or_class_by_its_import_path_is_a_model_like_any_other() -> None:
    """Its keyword arguments are its options; it is listed among no one's own models."""
    models.check("my_nets.flat:Flat", SIZES)
    assert models.build("my_nets.flat:Flat", **SIZES)(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
    assert models.options("my_nets.flat:Flat")["wide"] is False
    assert "my_nets.flat:Flat" not in models.names()
    said = r"my_nets\.flat:Flat must give logits \(images, 7\) and nothing else; of 2 images it gives \(2, 14\)$"
    with pytest.raises(models.ModelError, match=said):
        models.check("my_nets.flat:Flat", SIZES | {"wide": True})


def test_a_module_that_fails_is_named(package: Path) -> None:
    (package / "bad.py").write_text("1 / 0\n")
    importlib.invalidate_caches()
    said = r"^`model\.name`: my_nets\.bad cannot be imported \(ZeroDivisionError: division by zero\)$"
    with pytest.raises(models.ModelError, match=said):
        models.builder("my_nets.bad:make")


def test_what_is_outside() -> None:
    assert [outside.is_outside(n) for n in ("timm/a", "torchvision/a", "a:b", "resnet")] == [True, True, True, False]
