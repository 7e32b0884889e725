"""Everything besides its specification that may change a run's result: recorded at its start, compared later."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import models
from harness.environment import builder_digest, differences, provenance
from harness.plans.spec import Circumstances, Recipe
from harness.records.events import Started
from harness.training.device import hardware


def environment(root: Path, recipe: Recipe, circumstances: Circumstances) -> dict[str, Any]:
    """The current environment of a run: digests of the code and of the model's code, versions, processor, device."""
    packages = ["torch", "numpy"]
    if recipe.augmentation:
        packages += ["albumentations", "albucore", "opencv-python-headless"]
    if recipe.lr_finder:
        packages.append("torch-lr-finder")
    model_code = builder_digest(models.builder(recipe.model.name))
    return {**provenance(root, packages), **hardware(circumstances.device), "model_code": model_code}


def changed_since(
    before: Started, checksum: str, circumstances: Circumstances, environment: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """What changed since a run was recorded, as (value then, value now): {"threads": (1, 2)}.

    Args:
        before: the run's first event.
        checksum: checksum of the current images.
        circumstances: the current circumstances.
        environment: the current environment, see `environment`.
    """
    found = differences(before.environment, environment)
    if before.data.checksum != checksum:
        found["data"] = (before.data.checksum, checksum)
    for name in Circumstances.model_fields:  # except the device: the environment records its model
        was, now = getattr(before.circumstances, name), getattr(circumstances, name)
        if name not in ("device", "jobs") and was != now and "auto" not in (was, now):
            found[name] = (was, now)
    return {name: pair for name, pair in found.items() if name not in ("commit", "dirty")}


def in_words(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """Changes as text: "code c0de → beef, torch 2.11.0 → 2.14.1"."""
    return ", ".join(f"{name} {was} → {now}" for name, (was, now) in changed.items())


def recorded_as(name: str) -> str:
    """The dotted name that ALLOW= and reports use for a key of `changed_since`."""
    if name in Circumstances.model_fields:
        return f"circumstances.{name}"
    if name == "data":
        return "data.checksum"
    known = ("code", "model_code", "python", "system", "processor", "device", "cuda")
    return f"environment.{name}" if name in known else f"environment.versions.{name}"
