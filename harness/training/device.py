"""The device at hand: what it can do, how much memory work on it takes, and how its memory is kept."""

import contextlib
import ctypes
import re
from pathlib import Path

import joblib
import psutil
import torch

from harness.environment import Machine, cpu_flags
from harness.values import HarnessError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def detect(device: str = "auto") -> Machine:
    """The device to run on ("auto": CUDA, else MPS, else CPU), whether it computes bf16 in hardware, and CPU threads.

    Threads: as many as there are cores that this process may use, by its affinity and its control group.

    Raises:
        HarnessError: the device asked for is not here, or not one.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", device):
        raise HarnessError(f"`device` must be auto, cpu, mps, cuda or cuda:0 and on; got {device!r}")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = device.partition(":")
    present = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}[kind]
    if int(index or 0) >= present:
        raise HarnessError(
            f"`device` {device!r} is not on this machine ({present} of its kind); use device=cpu or auto"
        )
    return Machine(device=device, bf16=_has_bf16(kind), threads=joblib.cpu_count(only_physical_cores=True))


def _has_bf16(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":  # AVX512-BF16 or AMX; elsewhere bf16 is emulated, and slower than fp32
        return bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
    return False


def gpus() -> int:
    """CUDA devices that this process may use."""
    return torch.cuda.device_count()


def hardware(device: str) -> dict[str, str | None]:
    """What a run's record says of its device: its name, and the version of CUDA where it is used."""
    if device.startswith("cuda"):
        return {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return {"device": device, "cuda": None}


def system_metrics(device: str) -> dict[str, float]:
    """Load and memory right now, named as MLflow's system metrics are."""
    process = psutil.Process()
    metrics = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": psutil.virtual_memory().used / 1e6,
        "system/process_memory_usage_megabytes": process.memory_info().rss / 1e6,
    }
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        metrics[f"system/gpu_{torch.device(device).index or 0}_memory_usage_megabytes"] = (total - free) / 1e6
    return metrics


def reset_peak_memory(device: str) -> None:
    """Start `peak_memory_bytes` anew, where the system can: a process makes many runs."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR_REFS.exists():
        with contextlib.suppress(OSError):  # a container may forbid it; the peak is then the process's
            _CLEAR_REFS.write_text("5")


def peak_memory_bytes(device: str) -> int:
    """The most memory held since `reset_peak_memory`: CUDA's allocator's, elsewhere the process's resident size."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource  # not on every system

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, the only other one we run on


def keep_freed_memory() -> None:
    """Let the C library keep what training frees and takes again every step, where it is glibc.

    By default it gives blocks of some megabytes back to the system and has them cleared page by page when they are next
    asked for: a quarter of a small network's time on a CPU. Blocks beyond 32 MB still go back, so that the process
    stays small.
    """
    with contextlib.suppress(OSError, AttributeError):  # another system, another C library
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def give_back_freed_memory() -> None:
    """What `keep_freed_memory` has kept for a next step, now that other work comes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
