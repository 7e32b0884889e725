"""`make list`: list all models and experiments, or one model's layers; from a cache where possible, without torch."""

import argparse
import hashlib
import importlib.metadata
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.environment import code_of
from harness.environment.files import write_whole
from harness.plans import catalog
from harness.values import SpecError

if TYPE_CHECKING:
    from models import ModelSummary


_BROKEN = "cannot be imported: "


def show(chosen: argparse.Namespace, root: Path) -> int:
    """Print all models and experiments, with the reason for those that cannot be read; returns the exit status."""
    if chosen.model:
        print(layers(chosen.model))
        return 0
    lines = model_lines(root)
    print("\n".join(lines), end="\n\n")
    status = 2 if any(line.startswith(_BROKEN) for line in lines) else 0
    for name in catalog.names(root):
        try:
            said = catalog.load(name, root).question
        except SpecError as error:
            said, status = f"cannot be read: {error}", 2
        print(f"{name:<22} {said}")
    return status


def model_lines(root: Path) -> list[str]:
    """A line per registered model: parameters, multiply-adds, receptive field, options and their defaults.

    The lines are cached in data/cache until the models' code changes, so that listing need not import torch.
    """
    sha = hashlib.sha256(importlib.metadata.version("torch").encode())
    for path in (Path(__file__), *sorted((code_of(root) / "models").glob("*.py"))):
        sha.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    kept = root / "data" / "cache" / f"models-{sha.hexdigest()[:12]}.txt"
    with suppress(OSError):
        return kept.read_text().splitlines()
    import models

    lines = [_model_line(name) for name in models.names()]
    lines += [f"{_BROKEN}{why}" for why in models.BROKEN.values()]
    with suppress(OSError):  # the project may be read-only
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, "\n".join(lines).encode())
    return lines


def layers(model: str) -> str:
    """The table of a model's layers at its default options.

    Raises:
        SpecError: there is no model of that name, or it cannot be built with its defaults.
    """
    import models

    try:
        models.check(model, models.options(model))
    except models.ModelError as error:
        raise SpecError(str(error).replace("`model.name`", "MODEL")) from error
    return models.format_summary(_summary(model))


def _model_line(name: str) -> str:
    import models

    summary = _summary(name)
    options = ", ".join(f"{option}={default}" for option, default in models.options(name).items())
    return (
        f"{name:<12} {summary.parameters:>10,} parameters  {summary.multiply_adds / 1e6:>8.2f} M multiply-adds  "
        f"receptive field {summary.receptive_field}  options: {options}"
    )


def _summary(name: str) -> "ModelSummary":
    import models

    options = models.options(name)
    shape = (int(options["in_channels"]), int(options["image_size"]), int(options["image_size"]))
    return models.summarize(models.build(name), shape)
