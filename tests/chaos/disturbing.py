"""Kills what makes a grid while it is made: a worker every few seconds, a node of Ray, the command itself."""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

_LIMIT_SECONDS = 3600.0
_FORK_SERVER = "multiprocessing.forkserver"


@dataclass(frozen=True)
class Way:
    """How the command is to make its runs."""

    name: str
    option: str

    @property
    def on_ray(self) -> bool:
        return self.option.startswith("--ray")


WAYS = (Way("JOBS=2", "--jobs=2"), Way("JOBS=4", "--jobs=4"), Way("three nodes of Ray", "--ray=auto"))


@dataclass
class Seen:
    """What was killed, and how the command ended at last."""

    workers: int = 0
    nodes: int = 0
    commands: int = 0
    status: int | None = None


def disturb(
    way: Way, start: Callable[[], "subprocess.Popen[bytes]"], made: Callable[[], int], runs: int, seconds: float
) -> Seen:
    """From the command's start to its end.

    Every so many seconds by the clock one worker is killed, whatever it is doing; a node when a quarter of the runs is
    made; the command, which is started again, at half of them.
    """
    seen, choose = Seen(), random.Random(7)
    with _cluster(way) as cluster:
        command, due, limit = start(), time.monotonic() + seconds, time.monotonic() + _LIMIT_SECONDS
        while command.poll() is None and time.monotonic() < limit:
            time.sleep(0.02)
            if time.monotonic() < due:
                continue
            due = max(due + seconds, time.monotonic())
            if workers := _workers(command, cluster):
                seen.workers += _kill(choose.choice(workers))
            done = made()
            if cluster and not seen.nodes and 4 * done >= runs:
                seen.nodes += _kill(_raylets(cluster)[-1])
            if not seen.commands and 2 * done >= runs:
                seen.commands += _kill(psutil.Process(command.pid))
                command.wait()
                command = start()
        if command.poll() is None:
            command.send_signal(signal.SIGKILL)
        seen.status = command.wait()
    return seen


def _kill(process: psutil.Process) -> int:
    """By SIGKILL; how many that are."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return 0
    return 1


@contextmanager
def _cluster(way: Way) -> Iterator[Any]:
    """Of Ray, found by the command through RAY_ADDRESS; None for worker processes."""
    if not way.on_ray:
        yield None
        return
    from tests.harness.execution.engines.ray_here import ray_nodes

    with ray_nodes(3) as cluster, pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_ADDRESS", str(cluster.address))
        yield cluster


def _raylets(cluster: Any) -> list[psutil.Process]:
    """Of the nodes that are there, the head's first."""
    found = []
    for node in [cluster.head_node, *cluster.worker_nodes]:
        process = node.all_processes["raylet"][0].process
        if process.poll() is None:
            found.append(psutil.Process(process.pid))
    return found


def _workers(command: "subprocess.Popen[bytes]", cluster: Any) -> list[psutil.Process]:
    """Those of the command's own; of the cluster those that have work and those that wait for some.

    The last run of a grid would else be killed every time, and a worker of Ray's takes longer to start than is between
    two kills.
    """
    if cluster:
        every = [each for raylet in _raylets(cluster) for each in _children(raylet)]
        return [each for each in every if _line(each).startswith(("ray::make", "ray::IDLE"))]
    every = _children(psutil.Process(command.pid))
    servers = {each.pid for each in every if _FORK_SERVER in _line(each)}
    return [each for each in every if _parent(each) in servers]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return 0
