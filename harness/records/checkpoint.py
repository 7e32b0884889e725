"""Checkpoints that survive crashes: written atomically, with a checksum; the last two are kept.

A file contains the SHA-256 of its payload, then the payload: `torch.save` of plain tensors, numbers and the run's key.
It is written to a temporary name, fsynced and renamed, then its folder is fsynced. The checksum is needed because torch
loaded 59 of 60 files with one flipped bit without an error. Files that are damaged or of another run are renamed.
"""

import contextlib
import hashlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from harness.environment.files import write_whole

KEPT = 2


def save(folder: Path, state: dict[str, Any], step: int, run: str) -> Path:
    """Write a run's state after `step` optimiser steps; only the last two checkpoints are kept.

    Args:
        run: the run's key.

    Raises:
        OSError: the disk is full or read-only; earlier checkpoints are unchanged.
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
    """Load the newest intact checkpoint of this run with at most `at_most` steps; None if there is none.

    Files that are damaged or belong to another run are renamed to `.damaged`. Tensors are loaded to the CPU; only plain
    data is unpickled.
    """
    for path in _newest_first(folder):
        if int(path.stem.removeprefix("step-")) > at_most:
            continue
        content = path.read_bytes()
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            with contextlib.suppress(pickle.UnpicklingError, zipfile.BadZipFile):  # intact, but not written here
                saved = _plain(content[32:])
                if isinstance(saved, dict) and saved.get("run") == run:
                    return saved["state"]
        path.rename(path.with_suffix(".damaged"))
    return None


def _plain(payload: bytes) -> Any:
    """Load what `torch.save` wrote. It compresses nothing, so a compressed file is refused: it could need any memory.

    Raises:
        UnpicklingError, BadZipFile: the payload is compressed, no archive, or not plain data.
    """
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise pickle.UnpicklingError("compressed")
    return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)


def exists(folder: Path) -> bool:
    """True if there is any checkpoint, intact or damaged."""
    return any(path.suffix != ".tmp" for path in folder.glob("step-*"))


def newest_step(folder: Path) -> int:
    """The number of optimiser steps in the newest checkpoint, intact or damaged; 0 if there is none."""
    return max((int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.ckpt")), default=0)


def remove(folder: Path) -> None:
    """Delete a finished run's checkpoints."""
    for path in folder.glob("step-*"):
        path.unlink(missing_ok=True)


def _whole(value: Any) -> Any:
    """Copy views of larger tensors, because torch would save the whole tensor that they are views of."""
    if isinstance(value, torch.Tensor):
        return value.clone() if value.nbytes < value.untyped_storage().nbytes() else value
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.ckpt"), reverse=True)
