"""What commands share: reading numbers from the command line, and planning the runs that it asks for."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Literal

from harness.execution.engines.where import Where, on_ray, on_slurm
from harness.plans import catalog, overrides
from harness.plans.experiment import Experiment
from harness.plans.plan import Plan, plan
from harness.plans.spec import Circumstances
from harness.values import SpecError

Jobs = int | Literal["auto", "ray", "slurm"]


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


def workers(chosen: argparse.Namespace, jobs: int = 1) -> int:
    """Processes for augmentation: WORKERS, or as many as there are cores for each of so many jobs, four at most."""
    import joblib  # only where something trains

    given = whole_number(chosen.workers, "WORKERS")
    return max(1, min(4, joblib.cpu_count() // jobs)) if given is None else given


def where(chosen: argparse.Namespace) -> tuple[Where, Jobs | None]:
    """The engine that makes the runs, and how many at once: JOBS, RAY or SLURM; None where none of them was given.

    Raises:
        SpecError: more than one of them, or a value that breaks a rule.
    """
    given = {name: text for name in ("jobs", "ray", "slurm") if (text := getattr(chosen, name))}
    if len(given) > 1:
        names = " and ".join(name.upper() for name in given)
        raise SpecError(f"{names} cannot be given together: each says where runs are made; choose one")
    if "ray" in given:
        return on_ray(given["ray"], chosen.ray_gpu), "ray"
    if chosen.ray_gpu:
        raise SpecError(
            f"RAY_GPU is a share of a GPU for each run on Ray, so it needs RAY=local; got {chosen.ray_gpu!r}"
        )
    if "slurm" in given:
        return on_slurm(given["slurm"]), "slurm"
    if given.get("jobs", "auto") == "auto":
        return Where(), "auto" if given else None
    if not given["jobs"].isascii() or not given["jobs"].isdigit() or not 1 <= int(given["jobs"][:9]) <= 1024:
        raise SpecError(f"JOBS must be 1..1024, or auto; got {given['jobs']!r}")
    return Where(), int(given["jobs"])


def planned(chosen: argparse.Namespace, root: Path, jobs: Jobs | None = None) -> tuple[Plan, Circumstances]:
    """The runs that the command line asks for, and the circumstances as it left them, "auto" included.

    Args:
        jobs: how many runs share the machine at once; None takes the experiment's own, most often one.

    Raises:
        SpecError: no such experiment, or something in it or on the command line that breaks a rule.
    """
    experiment = catalog.load(chosen.experiment, root)
    changes = overrides.parse(chosen.set)
    if "jobs" in changes:
        raise SpecError(f"`jobs` is set by JOBS, RAY or SLURM; got {changes['jobs']!r} in SET")
    changes |= {"jobs": jobs} if jobs else {}
    around = {name: value for name, value in changes.items() if name in Circumstances.model_fields}
    asked = overrides.around(experiment.circumstances, around)
    from harness.training.device import detect  # and with it torch, seconds after a mistyped name was refused

    machine = detect(asked.device)
    if asked.jobs not in (1, "auto"):
        each = max(1, machine.threads // asked.jobs) if isinstance(asked.jobs, int) else 1
        machine = replace(machine, threads=each)
        asked = asked.model_copy(update={"threads": each if asked.threads == "auto" else asked.threads})
    made = plan(
        experiment,
        machine,
        data=chosen.data or None,
        seeds=seeds(chosen.seeds),
        variants=[name for name in chosen.variants.split(",") if name],
        changes=changes,
        looks=looks(chosen, experiment),
    )
    return made, asked
