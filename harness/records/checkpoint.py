"""Checkpoints that survive a crash: written whole or not at all, checksummed, the last two kept.

A file is the SHA-256 of its payload, then the payload: `torch.save` of plain tensors and numbers, and the key of the
run that it is of. It is written to a temporary name, fsynced, renamed, and its folder fsynced. Of 60 single bit flips
torch alone loads 59 silently, so the checksum decides; a file that is damaged or of another run is set aside.
"""

import contextlib
import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from harness.environment.files import write_whole

KEPT = 2


def save(folder: Path, state: dict[str, Any], step: int, run: str) -> Path:
    """Write a run's state after `step` optimiser steps; older checkpoints beyond the last two are removed.

    Args:
        run: its key.

    Raises:
        OSError: the disk is full or read-only; earlier checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save({"run": run, "state": _whole(state)}, buffer)
    payload = buffer.getbuffer()
    path = folder / f"step-{step:09d}.ckpt"
    write_whole(path, hashlib.sha256(payload).digest(), payload)
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load_latest(folder: Path, run: str, at_most: int) -> dict[str, Any] | None:
    """The state in the newest whole checkpoint of this run after at most so many steps, or None.

    Files that are damaged or of another run are set aside as `.damaged`. Tensors come on the CPU; nothing but plain
    data is unpickled.
    """
    for path in _newest_first(folder):
        if int(path.stem.removeprefix("step-")) > at_most:
            continue
        content = path.read_bytes()
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            with contextlib.suppress(pickle.UnpicklingError):  # whole, but not plain data: not one of ours
                saved = torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)
                if isinstance(saved, dict) and saved.get("run") == run:
                    return saved["state"]
        path.rename(path.with_suffix(".damaged"))
    return None


def exists(folder: Path) -> bool:
    """Whether there is any checkpoint, whole or damaged."""
    return any(path.suffix != ".tmp" for path in folder.glob("step-*"))


def newest_step(folder: Path) -> int:
    """The optimiser steps before the newest checkpoint, whole or damaged; 0 where there is none."""
    return max((int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.ckpt")), default=0)


def remove(folder: Path) -> None:
    """Delete a finished run's checkpoints."""
    for path in folder.glob("step-*"):
        path.unlink(missing_ok=True)


def _whole(value: Any) -> Any:
    """Views of larger tensors as tensors of their own: torch would save all that they are a part of."""
    if isinstance(value, torch.Tensor):
        return value.clone() if value.nbytes < value.untyped_storage().nbytes() else value
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.ckpt"), reverse=True)
