"""An engine that makes runs as Ray tasks, on an existing cluster or on a local one that other machines cannot reach.

Ray's own retries and result storage are not used: lost work is submitted again and resumes from its checkpoint.
"""

import importlib.util
import os
import socket
import warnings
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import joblib
import ray
import ray.exceptions

from harness.execution.engines.engine import Function, Lost
from harness.execution.engines.where import Where, code_root
from harness.plans.spec import Circumstances
from harness.values import HarnessError, first_line

_REACH_SECONDS = 5.0
_STORE_BYTES = 100 << 20
"""Object store size of a local cluster; small, because almost nothing is put into it."""
_FULL = (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError)


class OnRay:
    """Requests as many CPUs per task as the run has threads, and a share of a GPU for runs on a GPU.

    Raises:
        HarnessError: the cluster does not answer, or none of its nodes has the resources for one run.
    """

    name = "Ray"

    def __init__(self, where: Where, around: Circumstances, root: Path):
        cpus, gpu = int(around.threads), where.gpu if around.device.startswith("cuda") else 0.0
        _start(where.address)
        try:
            self.room = _room(cpus, gpu)
        except HarnessError:
            ray.shutdown()
            raise
        self._options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpu, "max_retries": 0}
        self._tasks: dict[Any, Future[str]] = {}

    def submit(self, function: Function, payload: str) -> "Future[str]":
        task = ray.remote(**self._options)(function)
        try:
            reference = task.remote(payload)  # payloads above 100 kB go through the object store
        except _FULL as error:
            raise _full(error) from error
        future = self._tasks[reference] = Future[str]()
        return future

    def poll(self, seconds: float) -> None:
        if not self._tasks:
            return
        done, _ = ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
        for reference in done:
            future = self._tasks.pop(reference)
            try:
                future.set_result(ray.get(reference))
            except ray.exceptions.RayTaskError as error:  # raised by the function itself
                future.set_exception(error.cause if isinstance(error.cause, Exception) else error)
            except _FULL as error:
                raise _full(error) from error
            except ray.exceptions.RayError as error:
                future.set_exception(Lost(f"a worker of Ray's was lost: {first_line(error)[:200]}"))

    def close(self) -> None:
        ray.shutdown()


def _full(error: Exception) -> HarnessError:
    return HarnessError(f"Ray's object store is full, make room on its nodes: {first_line(error)}")


def _start(address: str) -> None:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    passed = ("GLIBC_TUNABLES", "NO_ALBUMENTATIONS_UPDATE", "TORCHINDUCTOR_CACHE_DIR")
    variables = {name: os.environ[name] for name in passed if name in os.environ} | {"PYTHONPATH": str(code_root())}
    options: dict[str, Any] = {"runtime_env": {"env_vars": variables}, "log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        here = {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
        options |= {"num_cpus": joblib.cpu_count(), "object_store_memory": _STORE_BYTES, "address": "local", **here}
    else:
        options["address"] = address
    if address.startswith("ray://"):
        _reach(address)
        if importlib.util.find_spec("grpc") is None:
            raise HarnessError(f"RAY={address} needs the package grpcio, which is not installed: make extras")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(**options)
    except Exception as error:  # any error means that the cluster is not available
        step = "start a cluster there, or take RAY=local"
        if "AuthToken" in str(error):
            step = "export RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN as the cluster's head has it"
        said = first_line(error)
        if said.endswith(":"):  # what the cluster sent follows, its last line the reason
            said += f" {str(error).rstrip().splitlines()[-1]}"
        raise HarnessError(f"RAY={address}: {said[:300]}; {step}") from error


def _reach(address: str) -> None:
    """Check that the cluster's address accepts connections; Ray itself would try for half a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise HarnessError(
            f"RAY={address} does not answer ({first_line(error)}); start it, or take RAY=local"
        ) from error


def _room(cpus: int, gpu: float) -> int:
    """The number of runs that fit on the cluster at the same time."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    places = [min(n.get("CPU", 0) // cpus, n.get("GPU", 0) // gpu if gpu else n.get("CPU", 0)) for n in nodes]
    if not any(places):
        most = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
        raise HarnessError(
            f"a run needs {cpus} CPUs{f' and {gpu:g} of a GPU' if gpu else ''}, which no node of the Ray cluster has; "
            f"the largest has {most.get('CPU', 0):g} CPUs and {most.get('GPU', 0):g} GPUs: set threads or RAY_GPU"
        )
    return int(sum(places))
