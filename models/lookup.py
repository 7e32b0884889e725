"""Find and build models by name, either registered in `models/` or from outside (see `models.outside`).

A model from outside is registered under its full name when it is first requested.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

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
            near = _unregistered(name) or registry._nearest(name, names()) or outside.listed_as(name)
            broken = f"; not imported: {'; '.join(families.BROKEN.values())}" if families.BROKEN else ""
            raise ModelError(f"`model.name` must be one of {', '.join(names())}, {FORMS}; got {name!r}{near}{broken}")
        registry.register(outside.find(name))
    return registry.builder(name)


def _unregistered(name: str) -> str:
    """A hint for models/<name>.py if the file was imported without registering that name; "" otherwise."""
    if f"models.{name}" not in sys.modules:
        return ""
    return f"; models/{name}.py registers no model of that name: put @register above its function or class"


def options(name: str) -> dict[str, bool | int | float | str]:
    """The model's options and their defaults, in the builder's order.

    Raises:
        ModelError: an unknown model.
    """
    builder(name)
    return registry.options(name)


def check(name: str, options: Mapping[str, object]) -> None:
    """Check that `build` would accept a model and its options, and that the model returns logits.

    The random state is unchanged. With image_size among the options the model is applied to two black images, on
    torch's meta device if it can be. Without, a model in `models/` is built on the meta device, and of a model from
    outside only the names and types of its options are checked.

    Raises:
        ModelError: an unknown model or option, a wrong type, a value outside its range or choices, or a network that
            does not return logits for images of that shape.
    """
    builder(name)
    if "image_size" in options:
        _try(name, tuple(sorted(options.items())))
    elif not outside.is_outside(name):
        registry.check(name, options)
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
    try:
        logits = _shown_two_images(name, dict(options), full)
    except ModelError:
        raise
    except Exception as error:  # external code may raise anything
        said = (str(error).strip().splitlines() or ["no message"])[0]
        raise ModelError(
            f"`model.name`: {name} cannot be built for, or shown, images of "
            f"{full['in_channels']}x{full['image_size']}x{full['image_size']} ({type(error).__name__}: {said}); "
            "set data.image_size, mend the model, or take another"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
    if shape != (2, full["classes"]):
        raise ModelError(
            f"`model.name`: {name} must give logits (images, {full['classes']}) and nothing else; of 2 images it gives "
            f"{shape}"
        )


def _shown_two_images(name: str, options: Mapping[str, object], full: Mapping[str, Any]) -> object:
    """Apply a network to two black images: on the meta device, or on the CPU where its code needs the values."""

    def show() -> object:
        network = registry.build(name, **options).eval()
        return network(torch.zeros(2, full["in_channels"], full["image_size"], full["image_size"]))

    with torch.no_grad():
        try:
            with torch.device("meta"):
                return show()
        except ModelError:
            raise
        except Exception:  # the CPU tells whether it is the network's fault
            with torch.random.fork_rng(devices=[]):
                return show()
