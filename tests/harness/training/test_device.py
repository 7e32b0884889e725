"""The machine at hand: devices that are not here are refused, and records say what could have changed a result."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.plans.plan import Machine
from harness.training import device
from harness.training.device import (
    PACKAGES,
    code_at_start,
    code_digest,
    detect,
    environment,
    system_metrics,
)
from harness.values import HarnessError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with neither CUDA nor MPS, whose CPU says nothing of itself, with 3 cores."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(device, "_cpu_flags", frozenset)
    monkeypatch.setattr(device.joblib, "cpu_count", lambda only_physical_cores: 3 if only_physical_cores else 6)


@pytest.mark.usefixtures("bare")
def test_auto_is_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA, else MPS, else the CPU; threads are real cores."""
    assert detect("auto") == Machine("cpu", bf16=False, threads=3)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert detect("auto") == Machine("mps", bf16=False, threads=3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert detect("auto") == Machine("cuda", bf16=True, threads=3)
    assert detect("cuda:1").device == "cuda:1"
    assert detect("cpu").device == "cpu"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a system that binds no process to cores")
def test_a_process_bound_to_one_core_has_one_thread() -> None:
    """As a cluster's scheduler binds it: two threads on one core would wait for each other, at a fifth of its speed."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert detect("cpu").threads == 1
    finally:
        os.sched_setaffinity(0, cores)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_bf16_only_where_the_processor_computes_it(monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    """Emulated bf16 is slower than fp32, so other processors keep fp32."""
    monkeypatch.setattr(device, "_cpu_flags", lambda: frozenset({"avx2", "avx512f"}))
    assert not detect("cpu").bf16
    monkeypatch.setattr(device, "_cpu_flags", lambda: frozenset({"avx2", flag}))
    assert detect("cpu").bf16


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7", "mps"])
def test_a_device_that_is_not_here_is_refused(device: str) -> None:
    """One line with what to use instead."""
    said = rf"^`device` '{device}' is not on this machine \(0 of its kind\); use device=cpu or auto$"
    with pytest.raises(HarnessError, match=said):
        detect(device)


@pytest.mark.parametrize("device", ["", "tpu", "cpu:0", "cuda:", "cuda:x", "CUDA", "None", "cuda:99999", "cpu\n"])
def test_a_device_that_is_none_is_refused(device: str) -> None:
    """Anything but the names that torch has here is said in one line, never a traceback."""
    with pytest.raises(HarnessError) as caught:
        detect(device)
    assert str(caught.value) == f"`device` must be auto, cpu, mps, cuda or cuda:0 and on; got {device!r}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the code that decides results."""
    for folder in ("models", "harness"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_code_digest_sees_what_decides_a_result(project: Path) -> None:
    """A change of a byte, a name or the number of files in models/ or the training code; the same code in another
    place has the same digest."""
    seen = {code_digest(project)}
    assert seen == {code_digest(ROOT)}
    for change in ("harness/train.py", "harness/augment.py", "models/resnet.py"):
        with (project / change).open("a") as file:
            file.write("\n")
        seen.add(code_digest(project))
    (project / "models" / "new.py").touch()
    seen.add(code_digest(project))
    (project / "models" / "new.py").rename(project / "models" / "newer.py")
    seen.add(code_digest(project))
    (project / "models" / "store.py").touch()  # the harness's own file of that name decides nothing
    seen.add(code_digest(project))
    (project / "models" / "family").mkdir()
    (project / "models" / "family" / "block.py").touch()
    seen.add(code_digest(project))
    assert len(seen) == 8


def test_the_code_digest_ignores_what_only_records(project: Path) -> None:
    """Work on tracking, figures or the command line does not part new runs from old ones; each such file exists."""
    before = code_digest(project)
    for name in device._DECIDES_NOTHING:
        with (project / "harness" / name).open("r+") as file:
            file.write("#")
    (project / "README.md").touch()
    assert code_digest(project) == before


def _git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_environment_names_commit_and_dirt(tmp_path: Path) -> None:
    """The commit that HEAD is; dirty once a tracked file differs from it; every version that could matter."""
    _git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("1")
    _git(tmp_path, "add", "file")
    _git(tmp_path, "commit", "--quiet", "-m", "one")
    clean = environment(tmp_path, "cpu")
    assert (clean["commit"], clean["dirty"]) == (_git(tmp_path, "rev-parse", "HEAD"), False)
    (tmp_path / "file").write_text("2")
    assert environment(tmp_path, "cpu")["dirty"] is False  # what this process runs was read before
    code_at_start.cache_clear()
    assert environment(tmp_path, "cpu")["dirty"] is True
    assert clean["versions"].keys() == set(PACKAGES)
    assert clean["versions"]["torch"] == torch.__version__.split("+")[0]
    assert (clean["device"], clean["cuda"]) == ("cpu", None)
    assert clean["processor"]


def test_without_git_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A downloaded archive has no history, a bare machine no git: neither stops a run."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment(tmp_path, "cpu")["commit"] is None
    monkeypatch.setenv("PATH", str(tmp_path))
    code_at_start.cache_clear()
    assert environment(tmp_path, "cpu")["commit"] is None


def test_system_metrics_are_numbers_under_mlflows_names() -> None:
    """What MLflow's own page of system metrics shows."""
    metrics = system_metrics("cpu")
    assert all(name.startswith("system/") for name in metrics)
    assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
    assert 10 < metrics["system/process_memory_usage_megabytes"] < metrics["system/system_memory_usage_megabytes"] * 2


_PEAK = """
import numpy as np
from harness.training.device import peak_memory_bytes, reset_peak_memory, system_metrics
reset_peak_memory("cpu")
before = system_metrics("cpu")["system/process_memory_usage_megabytes"] * 1e6
held = np.ones(200_000_000, np.uint8)
del held
print(peak_memory_bytes("cpu") - before)
"""


def test_peak_memory_sees_what_was_held_and_let_go() -> None:
    """200 MB held for a moment since the reset are in the peak; in a process that holds nothing to make them from."""
    done = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 190_000_000


_FAULTS = """
import resource, torch
from harness.training.device import keep_freed_memory
keep_freed_memory()
for megabytes in (16, 40):
    faults = []
    for _ in range(15):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(megabytes << 18) for _ in range(4)]
        del blocks
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    print(sorted(faults)[7])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    """Four blocks of 16 MB, 16,384 pages, are not cleared by the system again in most rounds; larger ones are, for they
    went back to it."""
    done = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True)
    kept, given_back = map(int, done.stdout.split())
    assert kept < 100
    assert given_back > 20_000


_TOGETHER = """
import ctypes
import torch
from harness.training.device import keep_freed_memory
def take_small_blocks(of_each_size):
    for size in range(24, 121, 16):
        for _ in range(of_each_size):
            ctypes.CDLL("libc.so.6").malloc(size)
for _ in range(2):
    take_small_blocks(5000)  # all the room that there happens to be
    keep_freed_memory()
    tensors = []
    for _ in range(16):
        tensors.append(torch.empty(400_000))
        take_small_blocks(100)
    first, last = min(t.data_ptr() for t in tensors), max(t.data_ptr() for t in tensors)
    del tensors
    print(first <= torch.empty(6_000_000).data_ptr() <= last)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_tensors_grow_together() -> None:
    """16 tensors are freed, small blocks taken between them are not: one tensor of nearly the 16's size has room there,
    under the settings that `make run` gives glibc; in a process's second run too."""
    tunables = re.search(r"GLIBC_TUNABLES \?= (\S+)", (ROOT / "Makefile").read_text())
    assert tunables
    environment = os.environ | {"GLIBC_TUNABLES": tunables.group(1)}
    done = subprocess.run(
        [sys.executable, "-c", _TOGETHER], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]
