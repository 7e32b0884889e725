"""The journal of looks at an experiment's results: one JSON line per look in `runs/<experiment>/looks.jsonl`."""

import os
from contextlib import suppress
from pathlib import Path

from harness.plans.looks import Look

NAME = "looks.jsonl"


def read(folder: Path) -> tuple[Look, ...]:
    """The looks at an experiment's results so far, in chronological order.

    Args:
        folder: the experiment's folder in `runs/`.
    """
    path, looks = folder / NAME, list[Look]()
    for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
        with suppress(ValueError):  # incomplete after a crash
            looks.append(Look.model_validate_json(line))
    return tuple(looks)


def note(folder: Path, look: Look) -> tuple[Look, ...]:
    """Add a look durably, unless the same results were seen before; returns all looks.

    Raises:
        OSError: the disk is full or read-only.
    """
    before = read(folder)
    if any(seen.results == look.results for seen in before):
        return before
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    whole = path.read_bytes() if path.is_file() else b""
    torn = whole and not whole.endswith(b"\n")  # incomplete after a crash, so not a look
    with path.open("ab") as file:
        file.write((b"\n" if torn else b"") + look.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return (*before, look)
