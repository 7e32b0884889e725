"""Ray: the same runs on a cluster of this machine, refusals in one line; what needs Ray started is run by
`make test-engines`, for it takes long to start."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.execution.engines.where import Where, on_ray, start
from harness.execution.execute import Outcome
from harness.plans.spec import Circumstances
from harness.values import HarnessError
from tests.harness.execution.engines import work
from tests.harness.execution.engines.conftest import Numbers, numbers
from tests.harness.execution.engines.ray_here import ray_nodes

ROOT = Path(__file__).resolve().parents[4]
AROUND = Circumstances(device="cpu", threads=1, memory_format="channels_last", step="eager", jobs="ray")


@pytest.mark.engines
def test_runs_on_a_local_cluster_are_the_same_runs(
    make_grid: Callable[..., Outcome], calm: Numbers, tmp_path: Path
) -> None:
    """RAY=local."""
    assert make_grid(Where("ray", "local"), jobs="ray") == Outcome()
    assert numbers(tmp_path) == calm


@pytest.mark.engines
def test_runs_on_three_nodes_are_the_same_runs(
    make_grid: Callable[..., Outcome], calm: Numbers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster of three nodes on this machine, found by its address."""
    with ray_nodes(3) as cluster:
        monkeypatch.setenv("RAY_ADDRESS", str(cluster.address))
        assert make_grid(on_ray("auto", ""), jobs="ray") == Outcome()
    assert numbers(tmp_path) == calm


_FILL = """
import pathlib, sys, time, ray

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
kept = []
try:
    while len(kept) < 200:
        kept.append(ray.put(b"x" * (1 << 20)))
except ray.exceptions.RayError as error:
    pathlib.Path(sys.argv[2]).write_text(type(error).__name__)
time.sleep(600)
"""


@contextmanager
def full(folder: Path) -> Iterator[str]:
    """The address of a cluster whose object store another program has filled, and no disk to move objects to."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_local_fs_capacity_threshold", "0.0")
        with ray_nodes(1, object_store_memory=80 << 20) as cluster:
            said = folder / "said"
            filling = subprocess.Popen([sys.executable, "-c", _FILL, str(cluster.address), str(said)], cwd=ROOT)
            limit = time.monotonic() + 120
            while not said.exists():
                assert time.monotonic() < limit
                assert filling.poll() is None
                time.sleep(0.1)
            yield str(cluster.address)
            filling.kill()
            filling.wait()


@pytest.mark.engines
def test_a_full_object_store(
    make_grid: Callable[..., Outcome], calm: Numbers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs and their results are too small for it, so they are made; a task of megabytes, such as a stack of very many
    seeds, is one line within seconds."""
    with full(tmp_path) as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        engine, began = start(on_ray("auto", ""), AROUND, tmp_path), time.monotonic()
        with pytest.raises(HarnessError, match=r"^Ray's object store is full, make room on its nodes: [^\n]*$"):
            engine.submit(work.who, "x" * (2 << 20))
        assert time.monotonic() - began < 15
        engine.close()
        assert make_grid(on_ray("auto", ""), jobs="ray") == Outcome()
    assert numbers(tmp_path) == calm


@pytest.mark.engines
def test_what_no_node_has_is_one_line(tmp_path: Path) -> None:
    """CPUs for so many threads, or a GPU's share."""
    said = r"^a run needs 512 CPUs, which no node of the Ray cluster has; the largest has \d+ CPUs and \d+ GPUs: "
    with pytest.raises(HarnessError, match=said):
        start(Where("ray", "local"), AROUND.model_copy(update={"threads": 512}), tmp_path)


@pytest.mark.engines
def test_no_cluster_here_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RAY=auto, and none is running."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(HarnessError, match=r"^RAY=auto: .*; start a cluster there, or take RAY=local$"):
        start(on_ray("auto", ""), AROUND, tmp_path)


def test_a_cluster_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    """Within seconds: Ray itself tries for half a minute."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = rf"^RAY=ray://127.0.0.1:{port} does not answer \(.*refused\); start it, or take RAY=local$"
    with pytest.raises(HarnessError, match=said):
        start(on_ray(f"ray://127.0.0.1:{port}", ""), AROUND, tmp_path)


@pytest.mark.parametrize(("name", "where"), [("ray", Where("ray", "local")), ("submitit", Where("slurm", local=True))])
def test_a_package_that_is_not_installed_is_one_line(
    name: str, where: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which, and what installs it."""
    engine = where.engine
    monkeypatch.delitem(sys.modules, f"harness.execution.engines.{engine}", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Without(name), *sys.meta_path])
    for module in [each for each in sys.modules if each.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(HarnessError) as refused:
        start(where, AROUND, tmp_path)
    assert str(refused.value) == f"{engine.upper()} needs the package {name}, which is not installed: make extras"


class _Without:
    """Finds nothing where a package would be."""

    def __init__(self, name: str):
        self.name = name

    def find_spec(self, name: str, *_: object) -> None:
        if name == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_engines_are_imported_only_when_asked() -> None:
    """Neither by the commands nor by what runs are made with."""
    code = (
        "import sys, harness.commands.run, harness.execution.execute, harness.execution.check\n"
        "assert not {'ray', 'submitit'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
