"""Shared by the commands: plan the runs that a command asks for, and where and how they are made."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Literal

from harness.commands.parser import seeds, variants, whole_number
from harness.execution.engines.where import Where, on_ray, on_slurm
from harness.plans import catalog, overrides
from harness.plans.experiment import Experiment
from harness.plans.plan import Plan, plan
from harness.plans.spec import Circumstances
from harness.values import SpecError

Jobs = int | Literal["auto", "ray", "slurm"]


def looks(chosen: argparse.Namespace, experiment: Experiment) -> tuple[int, ...]:
    """Numbers of seeds at which UNTIL=decided looks at the results; empty if UNTIL is not given.

    Raises:
        SpecError: UNTIL is not "decided", SEEDS is given as well, or MAX_SEEDS is given without UNTIL or is below the
            first look.
    """
    most = whole_number(chosen.max_seeds, "MAX_SEEDS")
    if not chosen.until:
        if most is not None:
            raise SpecError("MAX_SEEDS needs UNTIL=decided; for a fixed number of seeds use SEEDS")
        return ()
    if chosen.until != "decided":
        raise SpecError(f"UNTIL must be decided; got {chosen.until!r}")
    if chosen.seeds:
        raise SpecError("SEEDS and UNTIL=decided exclude each other; MAX_SEEDS limits the seeds of a variant")
    from harness.evidence.looks import LOOKS

    declared = experiment.looks or LOOKS
    last = most or experiment.max_seeds or declared[-1]
    if last < declared[0] or last > 1000:
        raise SpecError(f"MAX_SEEDS must be {declared[0]}..1000, as the first look is at {declared[0]}; got {last}")
    return (*(look for look in declared if look < last), last)


def workers(chosen: argparse.Namespace, jobs: int = 1) -> int:
    """Worker processes for augmentation: WORKERS=, or else the cores available to each of `jobs` runs, at most four."""
    import joblib  # needed only for training

    given = whole_number(chosen.workers, "WORKERS")
    return max(1, min(4, joblib.cpu_count() // jobs)) if given is None else given


def where(chosen: argparse.Namespace) -> tuple[Where, Jobs | None]:
    """Parse JOBS=, RAY= and SLURM=.

    Returns:
        The engine that makes the runs, and the number of concurrent runs (None if none of the options was given).

    Raises:
        SpecError: more than one of them was given, or a value breaks its rule.
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
    """Plan the runs that the command line asks for.

    Args:
        jobs: number of concurrent runs; None uses the experiment's value, by default 1.

    Returns:
        The plan, and the circumstances as given by the user, in which values may be "auto".

    Raises:
        SpecError: there is no such experiment, or a value in it or on the command line breaks a rule.
    """
    experiment = catalog.load(chosen.experiment, root)
    changes = overrides.parse(chosen.set)
    if "jobs" in changes:
        raise SpecError(f"`jobs` is set by JOBS, RAY or SLURM; got {changes['jobs']!r} in SET")
    changes |= {"jobs": jobs} if jobs else {}
    around = {name: value for name, value in changes.items() if name in Circumstances.model_fields}
    asked = overrides.around(experiment.circumstances, around)
    from harness.training.device import detect  # imports torch, after mistyped names were refused

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
        variants=variants(chosen.variants),
        changes=changes,
        looks=looks(chosen, experiment),
    )
    return made, asked
