"""What commands share: reading numbers from the command line, and planning the runs that it asks for."""

import argparse
from pathlib import Path

from harness.plans import catalog, overrides
from harness.plans.plan import Plan, plan
from harness.plans.spec import Circumstances
from harness.values import SpecError


def whole_number(text: str, name: str) -> int | None:
    """An integer from the command line, None when it was not given.

    Raises:
        SpecError: it is not one.
    """
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise SpecError(f"{name} must be a whole number below a billion; got {text!r}")
    return int(text)


def seeds(text: str) -> int | tuple[int, ...] | None:
    """SEEDS: how many, as in "5", or which, as in "0,1,7"; None when it was not given.

    Raises:
        SpecError: neither.
    """
    if "," not in text:
        return whole_number(text, "SEEDS")
    found = [whole_number(part.strip(), "SEEDS") for part in text.split(",") if part.strip()]
    return tuple(seed for seed in found if seed is not None)


def workers(chosen: argparse.Namespace) -> int:
    """Processes for augmentation: WORKERS, or as many as there are cores, four at most."""
    import joblib  # only where something trains

    given = whole_number(chosen.workers, "WORKERS")
    return min(4, joblib.cpu_count()) if given is None else given


def planned(chosen: argparse.Namespace, root: Path) -> tuple[Plan, Circumstances]:
    """The runs that the command line asks for, and the circumstances as it left them, "auto" included.

    Raises:
        SpecError: no such experiment, or something in it or on the command line that breaks a rule.
    """
    experiment = catalog.load(chosen.experiment, root)
    changes = overrides.parse(chosen.set)
    around = {name: value for name, value in changes.items() if name in Circumstances.model_fields}
    asked = overrides.around(experiment.circumstances, around)
    from harness.training.device import detect  # and with it torch, seconds after a mistyped name was refused

    made = plan(
        experiment,
        detect(asked.device),
        data=chosen.data or None,
        seeds=seeds(chosen.seeds),
        variants=[name for name in chosen.variants.split(",") if name],
        changes=changes,
    )
    return made, asked
