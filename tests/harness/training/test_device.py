"""The machine at hand: devices that are not here are refused; memory is measured, kept and given back."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from harness.environment import Machine
from harness.training import device
from harness.training.device import detect, system_metrics
from harness.values import HarnessError


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with neither CUDA nor MPS, whose CPU says nothing of itself, with 3 cores."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(device, "cpu_flags", frozenset)
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
    monkeypatch.setattr(device, "cpu_flags", lambda: frozenset({"avx2", "avx512f"}))
    assert not detect("cpu").bf16
    monkeypatch.setattr(device, "cpu_flags", lambda: frozenset({"avx2", flag}))
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


def test_system_metrics_are_numbers_under_mlflows_names() -> None:
    """What MLflow's own page of system metrics shows."""
    metrics = system_metrics("cpu")
    assert all(name.startswith("system/") for name in metrics)
    assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
    assert 10 < metrics["system/process_memory_usage_megabytes"] < metrics["system/system_memory_usage_megabytes"] * 2


_MEMORY = """
import resource
import numpy as np, torch
from harness.training.device import keep_freed_memory, peak_memory_bytes, reset_peak_memory, system_metrics

reset_peak_memory("cpu")
before = system_metrics("cpu")["system/process_memory_usage_megabytes"] * 1e6
held = np.ones(200_000_000, np.uint8)
del held
print(peak_memory_bytes("cpu") - before)
keep_freed_memory()
for megabytes in (16, 40):
    faults = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(megabytes << 18) for _ in range(4)]
        del blocks
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    print(sorted(faults)[3])
"""


def test_memory_is_measured_and_kept_for_the_next_step() -> None:
    """200 MB held for a moment since the reset are in the peak. Where the C library is glibc, four blocks of 16 MB,
    16,384 pages, are not cleared by the system again in most rounds; larger ones are, for they went back to it.

    In a process of its own, which holds nothing to make them from.
    """
    done = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True)
    peak, kept, given_back = map(float, done.stdout.split())
    assert peak > 190_000_000
    if platform.libc_ver()[0] == "glibc":
        assert kept < 100
        assert given_back > 20_000
