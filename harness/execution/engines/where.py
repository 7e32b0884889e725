"""Parse RAY=, RAY_GPU= and SLURM=, and start the engine they ask for; its package is imported only then."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.execution.engines.engine import Engine
from harness.plans.spec import Circumstances
from harness.values import HarnessError, SpecError, nearest

SLURM_OPTIONS = ("account", "constraint", "gres", "mem", "nodelist", "partition", "qos", "reservation", "time")


@dataclass(frozen=True)
class Where:
    """The choice of an engine, and its options."""

    engine: Literal["processes", "ray", "slurm"] = "processes"
    address: str = ""
    """Address of a Ray cluster; "local" starts one on this machine."""
    gpu: float = 1.0
    """Share of a GPU for each run on Ray."""
    local: bool = False
    """True runs Slurm's jobs as processes of this machine."""
    slurm: Mapping[str, str] = field(default_factory=dict)
    """Options of sbatch by their long names."""
    runs: int = 1
    """Number of runs that one Slurm job makes, one after the other."""


def on_ray(address: str, share: str) -> Where:
    """Parse RAY= and RAY_GPU=.

    Raises:
        SpecError: RAY is not local, auto or an address; RAY_GPU is not a share of a GPU.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address not in ("local", "auto") and not (address.startswith("ray://") and host and port.isdigit()):
        raise SpecError(f"RAY must be local, auto or ray://host:port; got {address!r}")
    try:
        gpu = float(share or 1.0)
    except ValueError:
        gpu = 0.0
    if not 0 < gpu <= 1:
        raise SpecError(f"RAY_GPU must be a share of a GPU, above 0 and at most 1; got {share!r}")
    return Where("ray", address, gpu=gpu)


def on_slurm(text: str) -> Where:
    """Parse SLURM=: options of sbatch by their long names, `runs=` per job, or local.

    Raises:
        SpecError: an unknown option, or an option without a value.
    """
    if text.split()[:1] == ["local"]:
        return Where("slurm", local=True, runs=_runs(dict([_option(word) for word in text.split()[1:]])))
    options = dict(_option(word) for word in text.split())
    return Where("slurm", runs=_runs(options), slurm={k: v for k, v in options.items() if k != "runs"})


def _option(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    known = (*SLURM_OPTIONS, "runs")
    if name not in known:
        raise SpecError(f"SLURM must be local or options of {', '.join(known)}; got {word!r}{nearest(name, known)}")
    if not value:
        raise SpecError(f"SLURM must give each option a value, as in partition=gpu time=60; got {word!r}")
    return name, value


def _runs(options: Mapping[str, str]) -> int:
    text = options.get("runs", "1")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 1000:
        raise SpecError(f"SLURM's runs must be 1..1000, the runs of one job; got {text!r}")
    return int(text)


def code_root() -> Path:
    """The folder from which workers import `harness`."""
    return Path(__file__).resolve().parents[3]


def start(where: Where, around: Circumstances, root: Path) -> Engine:
    """Start the engine.

    Raises:
        HarnessError: a package, a program or a cluster that it needs is not available.
    """
    try:
        if where.engine == "ray":
            from harness.execution.engines.ray import OnRay

            return OnRay(where, around, root)
        if where.engine == "slurm":
            from harness.execution.engines.slurm import Slurm

            return Slurm(where, around, root)
    except ModuleNotFoundError as error:
        if error.name not in ("ray", "submitit"):
            raise
        raise HarnessError(
            f"{where.engine.upper()} needs the package {error.name}, which is not installed: make extras"
        ) from error
    from harness.execution.engines.processes import Processes
    from harness.training.device import gpus

    assert isinstance(around.jobs, int)
    return Processes(around.jobs, gpus() if around.device == "cuda" else 0)
