"""Find and build models by name, either registered in `models/` or from outside (see `models.outside`).

A model from outside is registered under its full name when it is first requested.
"""

import functools
from collections.abc import Callable, Mapping

import torch
from torch import nn

from models import families, outside, registry
from models.registry import ModelError

FORMS = "torchvision/<name>, timm/<name> or <module>:<function>"


def names() -> tuple[str, ...]:
    """The names of all models registered in `models/`, sorted."""
    return tuple(name for name in registry.names() if not outside.is_outside(name))


def builder(name: str) -> Callable[..., nn.Module]:
    """The function that builds a model.

    Raises:
        ModelError: an unknown model.
    """
    if name not in registry.names():
        if not outside.is_outside(name):
            near = registry._nearest(name, names())
            broken = f"; not imported: {'; '.join(families.BROKEN.values())}" if families.BROKEN else ""
            raise ModelError(f"`model.name` must be one of {', '.join(names())}, {FORMS}; got {name!r}{near}{broken}")
        registry.register(outside.find(name))
    return registry.builder(name)


def options(name: str) -> dict[str, bool | int | float | str]:
    """The model's options and their defaults, in the builder's order.

    Raises:
        ModelError: an unknown model.
    """
    builder(name)
    return registry.options(name)


def check(name: str, options: Mapping[str, object]) -> None:
    """Check that `build` would accept a model and its options; the random state is unchanged.

    A model in `models/` is built on torch's meta device. A model from outside is built and applied to two black images
    if image_size is among the options; otherwise only the names of its options are checked.

    Raises:
        ModelError: an unknown model or option, a wrong type, a value outside its range or choices, or a network from
            outside that does not return logits for images of that shape.
    """
    builder(name)
    if not outside.is_outside(name):
        registry.check(name, options)
    elif "image_size" in options:
        _try(name, tuple(sorted(options.items())))
    else:
        known = registry._parameters(builder(name))
        for option, value in options.items():
            if option not in known:
                registry.build(name, **{option: value})  # raises the registry's message
            registry._check_value(option, value, known[option].annotation)


def build(name: str, /, **options: object) -> nn.Module:
    """Build a network in training mode, initialised from the global random generator.

    Options that are not given keep their defaults. The network maps float images, shape (B, in_channels, image_size,
    image_size), to logits, shape (B, classes).

    Raises:
        ModelError: an unknown model or option, a wrong type, or a value outside its range or choices.
    """
    builder(name)
    return registry.build(name, **options)


@functools.lru_cache(maxsize=64)
def _try(name: str, options: tuple[tuple[str, object], ...]) -> None:
    full = registry.options(name) | dict(options)
    channels, size, classes = (int(str(full[each])) for each in ("in_channels", "image_size", "classes"))
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            logits = registry.build(name, **dict(options)).eval()(torch.zeros(2, channels, size, size))
    except ModelError:
        raise
    except Exception as error:  # external code may raise anything
        said = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"`model.name`: {name} cannot be built for, or shown, images of {channels}x{size}x{size} "
            f"({type(error).__name__}: {said}); set data.image_size, or take another model"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (2, classes):
        raise ModelError(f"`model.name`: {name} must give logits (images, {classes}); of 2 images it gives {shape}")
