"""Debian's slurm-wlm (apt-get install slurm-wlm) as a scheduler and one node of two CPUs, of this machine alone."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MISSING = "needs Debian's slurm-wlm" if shutil.which("slurmctld") is None else None
"""Why it cannot be started here; None if it can."""
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


@contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """Without accounting; sbatch, squeue and scontrol of this process find it. Ended when the block is left."""
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
