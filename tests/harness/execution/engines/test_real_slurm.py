"""Debian's slurm-wlm on this machine (apt-get install slurm-wlm): jobs of a real scheduler; by `make test-engines`."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.execution.engines.where import on_slurm
from harness.execution.execute import Outcome
from harness.values import HarnessError
from tests.harness.execution.engines.conftest import Numbers, numbers

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(shutil.which("slurmctld") is None, reason="needs Debian's slurm-wlm"),
]
_CONF = """
ClusterName=here
SlurmctldHost={host}
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation={folder}
SlurmdSpoolDir={folder}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
NodeName={host} CPUs=2 State=UNKNOWN
PartitionName=here Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A scheduler and a node, of this machine alone, without accounting."""
    folder = tmp_path_factory.mktemp("slurm")
    free = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in free]
    for each in free:
        each.close()
    (folder / "slurm.conf").write_text(_CONF.format(host=socket.gethostname(), ports=ports, folder=folder))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        running = [subprocess.Popen([name, "-D"], cwd=folder) for name in ("slurmctld", "slurmd")]
        _until_idle()
        yield
        _until_idle()  # else a job's own daemon would wait for ever to tell the node's that it has ended
        for process in running:
            process.terminate()
            process.wait()


def _until_idle() -> None:
    limit = time.monotonic() + 60
    while "idle" not in subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True).stdout:
        assert time.monotonic() < limit
        time.sleep(0.2)


def test_jobs_of_a_real_scheduler_make_the_same_runs(
    make_grid: Callable[..., Outcome], calm: Numbers, tmp_path: Path
) -> None:
    """One array of two jobs, two runs each."""
    assert make_grid(on_slurm("partition=here time=10 runs=2"), jobs="slurm") == Outcome()
    assert numbers(tmp_path) == calm


def test_a_partition_that_does_not_exist_is_one_line(make_grid: Callable[..., Outcome]) -> None:
    """As sbatch says it."""
    with pytest.raises(HarnessError, match=r"^SLURM: sbatch: error: .*invalid partition specified: gpuu"):
        make_grid(on_slurm("partition=gpuu"), jobs="slurm")
