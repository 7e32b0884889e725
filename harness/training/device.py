"""The machine at hand: what "auto" means here, and what a record says of where a run was made."""

import contextlib
import ctypes
import functools
import hashlib
import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import psutil
import torch

from harness.plans.plan import Machine
from harness.values import HarnessError

PACKAGES = (
    "torch",
    "torchvision",
    "albumentations",
    "albucore",
    "opencv-python-headless",
    "numpy",
    "torch-lr-finder",
)
"""Whose versions can change what a run computes."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_SMALL_BLOCKS, _OF_EACH_SIZE = range(24, 121, 16), 5000
"""Bytes of the blocks that come with tensors, a size for each of glibc's bins, and how many find room: 6 MB in all."""
_between: list[int] = []
"""Addresses of the blocks that keep the room for small ones from growing together."""
_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_DECIDES_NOTHING = {
    "journal.py",
    "tracking.py",
    "delivery.py",
    "courier.py",
    "files.py",
    "rows.py",
    "store.py",
    "execute.py",
    "pick.py",
    "reproduce.py",
    "figures.py",
    "record.py",
    "catalog.py",
    "memory.py",
    "__main__.py",
}
"""Files of the harness that cannot change what a run computes."""


def detect(device: str = "auto") -> Machine:
    """The device to run on ("auto": CUDA, else MPS, else CPU), whether it computes bf16 in hardware, and CPU threads:
    as many as there are cores that this process may use (its affinity and its control group's share counted).

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
        flags = _cpu_flags()
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def _cpu_flags() -> frozenset[str]:
    return frozenset(_cpuinfo("flags").split())


def _cpuinfo(field: str) -> str:
    """What Linux says of the first core; "" elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def environment(root: Path, device: str) -> dict[str, Any]:
    """What else could have changed a result: commit, dirty flag, the code's digest, versions, processor, device."""
    return {
        **code_at_start(root),
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": _processor(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "cuda": torch.version.cuda if device.startswith("cuda") else None,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two environments differ in, each package by its name: {"torch": ("2.11.0", "2.14.1")}; what one of them does
    not record tells nothing."""
    old, new = ({k: v for k, v in seen.items() if k != "versions"} | seen["versions"] for seen in (before, now))
    return {name: (value, new[name]) for name, value in old.items() if name in new and value != new[name]}


@functools.cache
def code_at_start(root: Path) -> dict[str, Any]:
    """Commit, dirty flag and digest of the code as it was when a process first asked: of what it runs, also when files
    are edited meanwhile."""
    return {
        "commit": _git(root, "rev-parse", "HEAD"),
        "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no")),
        "code": code_digest(root),
    }


def code_digest(root: Path) -> str:
    """SHA-256, twelve digits, of the files that decide what a run computes: models/ and most of harness/."""
    sha = hashlib.sha256()
    harness = [path for path in root.glob("harness/*.py") if path.name not in _DECIDES_NOTHING]
    for path in sorted([*root.glob("models/**/*.py"), *harness]):
        sha.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()[:12]


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
        _make_room_for_small_blocks(library)


def _make_room_for_small_blocks(library: ctypes.CDLL) -> None:
    """Elsewhere than beside tensors, once more before every run: what stays of one run takes room from the next.

    With tensors come small blocks, some of which outlive the tensors' values in a backward pass. Where they lie between
    values, those that are freed cannot grow together into room for larger ones.
    """
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
    while _between:
        library.free(_between.pop())
    for size in _SMALL_BLOCKS:
        blocks = [library.malloc(size) for _ in range(2 * _OF_EACH_SIZE)]
        for block in blocks[::2]:
            library.free(block)
        _between.extend(blocks[1::2])


def give_back_freed_memory() -> None:
    """What `keep_freed_memory` has kept for a next step, now that other work comes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor()


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
