"""A model by its name, wherever it comes from: registered in `models/`, or from outside.

One from outside is registered under its whole name when it is first asked for; from then on the registry treats it as
any other.
"""

import functools
from collections.abc import Callable, Mapping

import torch
from torch import nn

from models import families, outside, registry
from models.registry import ModelError

FORMS = "torchvision/<name>, timm/<name> or <module>:<function>"


def names() -> tuple[str, ...]:
    """Every model registered in `models/`, sorted."""
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
    """Refuses what `build` would refuse, without a trace in the random numbers.

    A model of `models/` is built without memory. One from outside, of which less is known, is built and shown two black
    images, once the images' size is among the options; until then only its options' names are looked at.

    Raises:
        ModelError: an unknown model or option, a wrong type, a value out of its range or choices, or a network from
            outside that does not turn images of that shape into logits.
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
                registry.build(name, **{option: value})  # refuses it in the registry's words
            registry._check_value(option, value, known[option].annotation)


def build(name: str, /, **options: object) -> nn.Module:
    """A network in training mode, initialised from the global random generator.

    Options that are not given keep their defaults. The network maps images (B, in_channels, image_size, image_size)
    float → logits (B, classes).

    Raises:
        ModelError: an unknown model or option, a wrong type, or a value out of its range or choices.
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
    except Exception as error:  # a network of any origin runs here
        said = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"`model.name`: {name} cannot be built for, or shown, images of {channels}x{size}x{size} "
            f"({type(error).__name__}: {said}); set data.image_size, or take another model"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (2, classes):
        raise ModelError(f"`model.name`: {name} must give logits (images, {classes}); of 2 images it gives {shape}")
