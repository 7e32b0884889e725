"""What commands share: reading numbers from the command line, and planning the runs that it asks for."""

import argparse
from pathlib import Path

from harness.plans import catalog, overrides
from harness.plans.plan import Plan, plan
from harness.plans.spec import Circumstances, Experiment
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


def port(text: str, default: int) -> int:
    """PORT: where a server listens.

    Raises:
        SpecError: no port's number.
    """
    given = whole_number(text, "PORT")
    if given is not None and not 1 <= given <= 65535:
        raise SpecError(f"PORT must be 1..65535; got {given}")
    return default if given is None else given


def seeds(text: str) -> int | tuple[int, ...] | None:
    """SEEDS: how many, as in "5", or which, as in "0,1,7"; None when it was not given.

    Raises:
        SpecError: neither.
    """
    if "," not in text:
        return whole_number(text, "SEEDS")
    found = [whole_number(part.strip(), "SEEDS") for part in text.split(",") if part.strip()]
    return tuple(seed for seed in found if seed is not None)


def looks(chosen: argparse.Namespace, experiment: Experiment) -> tuple[int, ...]:
    """Numbers of seeds at which results are looked at, where UNTIL=decided asks for it; empty where it does not.

    Raises:
        SpecError: another word than decided; SEEDS beside it, or MAX_SEEDS without it, or below the first look.
    """
    most = whole_number(chosen.max_seeds, "MAX_SEEDS")
    if not chosen.until:
        if most is not None:
            raise SpecError("MAX_SEEDS needs UNTIL=decided; how many seeds all variants get is SEEDS")
        return ()
    if chosen.until != "decided":
        raise SpecError(f"UNTIL must be decided; got {chosen.until!r}")
    if chosen.seeds:
        raise SpecError("SEEDS and UNTIL=decided exclude each other; the most seeds that a variant gets are MAX_SEEDS")
    from harness.evidence.looks import LOOKS

    declared = experiment.looks or LOOKS
    last = most or experiment.max_seeds or declared[-1]
    if last < declared[0] or last > 1000:
        raise SpecError(f"MAX_SEEDS must be {declared[0]}..1000, for the first look is at {declared[0]}; got {last}")
    return (*(look for look in declared if look < last), last)


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
        looks=looks(chosen, experiment),
    )
    return made, asked
