"""The registry of models, a dict from name to builder (like timm's `register_model`, but duplicates are errors).

A builder is a function whose keyword arguments are the model's options. The registry checks them by their annotations
(bool, int, float or a Literal of strings); the builder itself checks ranges with `require`.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar, get_args, get_origin

import torch
from torch import nn

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

_BUILDERS: dict[str, Callable[..., nn.Module]] = {}
_TYPES: dict[object, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "be true or false"),
    int: ((int,), "be a whole number"),
    float: ((float, int), "be a number"),
}
_OF_THE_DATA = {"in_channels", "image_size", "classes"}


class ModelError(ValueError):
    """A model or option does not exist, or a value breaks its rule; described in one line."""


def register(builder: Builder) -> Builder:
    """Decorator that registers a builder under its own name.

    The builder takes keyword arguments with defaults, including `in_channels`, `image_size` (pixels) and `classes`.

    Raises:
        ModelError: the name is already registered, or an argument is missing, not annotated or without a default.
    """
    name = builder.__name__
    if name in _BUILDERS:
        raise ModelError(
            f"model {name!r} is registered twice: in {_BUILDERS[name].__module__} and {builder.__module__}"
        )
    parameters, where = _parameters(builder), f"model {name!r} in {builder.__module__}"
    if missing := _OF_THE_DATA - parameters.keys():
        raise ModelError(
            f"{where} must take the keyword arguments {', '.join(sorted(missing))}, which the data fill in"
        )
    for option, parameter in parameters.items():
        if parameter.annotation not in _TYPES and get_origin(parameter.annotation) is not Literal:
            raise ModelError(f"{where}: `{option}` must be annotated as bool, int, float or a Literal of strings")
        if parameter.default is parameter.empty:
            raise ModelError(f"{where}: `{option}` must have a default")
    _BUILDERS[name] = builder
    return builder


def names() -> tuple[str, ...]:
    """The names of all registered models, sorted."""
    return tuple(sorted(_BUILDERS))


def builder(name: str) -> Callable[..., nn.Module]:
    """The function that builds a registered model.

    Raises:
        ModelError: an unknown model.
    """
    if name not in _BUILDERS:
        raise ModelError(f"`model.name` must be one of {', '.join(names())}; got {name!r}{_nearest(name, _BUILDERS)}")
    return _BUILDERS[name]


def options(name: str) -> dict[str, bool | int | float | str]:
    """The model's options and their defaults, in the builder's order.

    Raises:
        ModelError: an unknown model.
    """
    return {option: parameter.default for option, parameter in _parameters(builder(name)).items()}


def check(name: str, options: Mapping[str, object]) -> None:
    """Check that `build` would accept a model and its options, without allocating it or using random numbers.

    Raises:
        ModelError: an unknown model or option, a wrong type, or a value outside its range or choices.
    """
    with torch.device("meta"):  # the builder checks ranges, so it must run; meta tensors have no data
        build(name, **options)


def build(name: str, /, **options: object) -> nn.Module:
    """A network in training mode, initialised by torch's defaults from the global random generator.

    Options that are not given keep their defaults. The network maps images (B, in_channels, image_size, image_size)
    float → logits (B, classes).

    Raises:
        ModelError: as `check`.
    """
    make = builder(name)
    parameters = _parameters(make)
    for option, value in options.items():
        if option not in parameters:
            known = ", ".join(parameters)
            raise ModelError(f"`model.{option}` is not an option of {name} ({known}){_nearest(option, parameters)}")
        _check_value(option, value, parameters[option].annotation)
    return make(**options)


def require(holds: bool, option: str, rule: str, value: object) -> None:
    """For builders: `require(size >= 8, "image_size", "be 8 or more", size)`.

    Raises:
        ModelError: the rule does not hold.
    """
    if not holds:
        raise ModelError(f"`model.{option}` must {rule}; got {value!r}")


def require_shapes(in_channels: int, image_size: int, classes: int, smallest_image: int) -> None:
    """For builders: at least one channel, two classes, and images of `smallest_image` pixels.

    Raises:
        ModelError: a rule does not hold.
    """
    require(in_channels >= 1, "in_channels", "be 1 or more", in_channels)
    require(image_size >= smallest_image, "image_size", f"be {smallest_image} or more", image_size)
    require(classes >= 2, "classes", "be 2 or more", classes)


def _parameters(builder: Callable[..., nn.Module]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(builder, eval_str=True).parameters


def _check_value(option: str, value: object, annotation: object) -> None:
    if annotation in _TYPES:
        accepted, rule = _TYPES[annotation]
        require(type(value) in accepted, option, rule, value)  # by type, not isinstance, because True is an int
    elif value not in get_args(annotation):
        choices = get_args(annotation)
        near = _nearest(value, choices) if isinstance(value, str) else ""
        raise ModelError(f"`model.{option}` must be one of {', '.join(choices)}; got {value!r}{near}")


def _nearest(name: str, known: Iterable[str]) -> str:
    others = [each for each in known if not name.startswith(each)]  # resnet18 is no typing error of resnet
    close = difflib.get_close_matches(name, others, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
