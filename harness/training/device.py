"""The device of a run: detection, system metrics, and memory."""

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
    """Detect the device ("auto": CUDA, else MPS, else CPU), whether it computes bf16 in hardware, and the CPU threads.

    The number of threads is the number of cores that this process may use by its affinity and control group.

    Raises:
        HarnessError: the requested device does not exist on this machine, or is not a device name.
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
    if kind == "cpu":  # AVX512-BF16 or AMX; without them bf16 is emulated and slower than fp32
        return bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
    return False


def gpus() -> int:
    """Number of CUDA devices that this process may use."""
    return torch.cuda.device_count()


def hardware(device: str) -> dict[str, str | None]:
    """The device's name and, on a GPU, the version of CUDA, for the record of a run."""
    if device.startswith("cuda"):
        return {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return {"device": device, "cuda": None}


def system_metrics(device: str) -> dict[str, float]:
    """Current load and memory, with the names of MLflow's system metrics."""
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
    """Reset `peak_memory_bytes` if the system supports it, since a process makes many runs."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR_REFS.exists():
        with contextlib.suppress(OSError):  # containers may forbid it; then the peak is since the process started
            _CLEAR_REFS.write_text("5")


def peak_memory_bytes(device: str) -> int:
    """Peak memory since `reset_peak_memory`: of CUDA's allocator, otherwise the process's resident size."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource  # not available on all systems

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS, the only other supported system


def keep_freed_memory() -> None:
    """Make glibc keep freed memory, because training frees and allocates the same blocks in every step.

    By default glibc returns blocks of several megabytes to the system, which clears their pages again at the next
    allocation; this takes a quarter of a small network's time on a CPU. Blocks above 32 MB are still returned, which
    limits the size of the process.
    """
    with contextlib.suppress(OSError, AttributeError):  # another system or C library
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def give_back_freed_memory() -> None:
    """Return the memory kept by `keep_freed_memory` to the system before other work than training steps."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
