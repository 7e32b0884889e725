"""Networks from outside `models/`: from torchvision, from timm, or built by a user's function given by its import path.

`torchvision/<name>` and `timm/<name>` are architectures listed by these packages, with random weights; nothing is
downloaded. Their head and first layers are adapted to the data (`models.stems`). `package.module:function` is imported
from the project's folder or an installed package, and must be a builder as defined by `registry.register`.
"""

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from torch import nn

from models.registry import ModelError, _nearest
from models.stems import fit_channels, fit_stem

Builder = Callable[..., nn.Module]
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_AUXILIARY = {"aux_logits": False, "init_weights": True}
"""Arguments of torchvision's Inception networks: a single output, and their future default initialisation."""


def is_outside(name: str) -> bool:
    """True if a name has one of the forms above."""
    return name.startswith(("torchvision/", "timm/")) or ":" in name


def find(name: str) -> Builder:
    """The builder of a model from outside; its `__name__` is the given name.

    Raises:
        ModelError: there is no such architecture, module or function, or a package is not installed.
    """
    package, _, architecture = name.partition("/")
    if ":" in name:
        builder = _imported(name)
    else:
        builder = _torchvision(architecture) if package == "torchvision" else _timm(architecture)
    builder.__name__ = name
    return builder


def _torchvision(architecture: str) -> Builder:
    from torchvision import models as zoo

    _require_listed("torchvision", architecture, zoo.list_models(module=zoo))
    make = zoo.get_model_builder(architecture)
    taken = inspect.signature(inspect.signature(make, eval_str=True).return_annotation).parameters

    def build(
        stem: Literal["fitted", "own"] = "fitted", in_channels: int = 3, image_size: int = 32, classes: int = 10
    ) -> nn.Module:
        sizes: dict[str, Any] = {"image_size": image_size, "input_size": (image_size, image_size)}
        given = {name: value for name, value in (sizes | _AUXILIARY).items() if name in taken}
        network = make(weights=None, num_classes=classes, **given)
        fit_channels(network, in_channels, f"torchvision/{architecture}")
        if stem == "fitted":
            fit_stem(network, image_size)
        return network

    return build


def _timm(architecture: str) -> Builder:
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise ModelError(
            f"`model.name`: timm/{architecture} needs the package timm, which is not installed: pip install timm"
        ) from error
    _require_listed("timm", architecture, timm.list_models())
    configuration = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    fixed = configuration is not None and configuration.fixed_input_size

    def build(
        stem: Literal["fitted", "own"] = "fitted",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        in_channels: int = 3,
        image_size: int = 32,
        classes: int = 10,
    ) -> nn.Module:
        given: dict[str, Any] = {"img_size": image_size} if fixed else {}
        given |= {"drop_rate": drop_rate} if drop_rate else {}  # not all architectures accept it
        given |= {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
        network = timm.create_model(architecture, pretrained=False, num_classes=classes, in_chans=in_channels, **given)
        if stem == "fitted":
            fit_stem(network, image_size)
        return network

    return build


def _require_listed(package: str, architecture: str, known: list[str]) -> None:
    if architecture not in known:
        near = _nearest(architecture, known).replace("did you mean '", f"did you mean '{package}/")
        near = near.replace(" or '", f" or '{package}/")
        raise ModelError(
            f"`model.name` must be one of the {len(known):,} classifiers that {package} lists; got "
            f"{f'{package}/{architecture}'!r}{near}"
        )


def listed_as(name: str) -> str:
    """Where a bare name is one of torchvision's: "; did you mean 'torchvision/resnet18'?", else nothing."""
    from torchvision import models as zoo

    return f"; did you mean 'torchvision/{name}'?" if name in zoo.list_models(module=zoo) else ""


def _imported(name: str) -> Builder:
    if not _IMPORT_PATH.fullmatch(name):
        raise ModelError(f"`model.name` must be an import path such as my_package.nets:make; got {name!r}")
    module_name, _, function = name.partition(":")
    for project in (Path.cwd(), Path(__file__).resolve().parents[1]):  # `models` may be installed elsewhere
        if str(project) not in sys.path:
            sys.path.append(str(project))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ModelError(
                f"`model.name`: there is no module {error.name!r} in the project's folder or among what is installed; "
                f"got {name!r}"
            ) from error
        raise _fails(module_name, error) from error
    except Exception as error:  # user code may raise anything
        raise _fails(module_name, error) from error
    make = getattr(module, function, None)
    if not callable(make):
        near = _nearest(function, [each for each in vars(module) if not each.startswith("_")])
        raise ModelError(f"`model.name`: {module_name} has no function {function!r}{near}; got {name!r}")

    @functools.wraps(make)
    def build(**options: object) -> Any:
        return make(**options)

    return build


def _fails(module: str, error: Exception) -> ModelError:
    said = " ".join(str(error).split())
    return ModelError(f"`model.name`: {module} cannot be imported ({type(error).__name__}: {said})")
