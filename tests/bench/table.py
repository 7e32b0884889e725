"""What was measured, a column a machine: JSON that keeps every value, Markdown made from it alone."""

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from harness.environment import provenance
from harness.training.device import detect, hardware

NEEDS_A_GPU = (
    ("H200, `resnet_onecycle` through the public command", "14 s", "7 s"),
    ("H200, 64 `norm_cnn` stacked against one after the other", "8x", "30x"),
    ("H200, 2 variants x 29 seeds of `resnet_onecycle` to a finished report", "15 min", "5 min"),
)
"""What only a GPU can show, with its must and aim; `make bench GPU=1` measures the first two."""
PACKAGES = ("torch", "torchvision", "albumentations", "opencv-python-headless", "numpy", "pytorch-lightning")
"""Whose speed is compared."""


@dataclass(frozen=True)
class Row:
    """One figure: its values round by round, of which the median counts."""

    what: str
    values: tuple[float, ...]
    unit: str
    must: float | None = None
    aim: float | None = None
    less_is_better: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """The higher of its goals that the median reaches; nothing where there is no goal."""
        goals = {name: goal for name, goal in (("aim", self.aim), ("must", self.must)) if goal is not None}
        sign = -1 if self.less_is_better else 1
        reached = [name for name, goal in goals.items() if sign * (self.median - goal) >= 0]
        return (reached or ["**no**"])[0] if goals else ""

    @property
    def goals(self) -> list[str]:
        """Must and aim, as text."""
        return ["" if goal is None else f"{_text(goal)} {self.unit}" for goal in (self.must, self.aim)]

    @property
    def measured(self) -> str:
        """The median, the range, and what is reached."""
        low, high = min(self.values), max(self.values)
        spread = f" ({_text(low)} to {_text(high)})" if len(self.values) > 1 else ""
        return (
            f"{_text(self.median)}{self.unit and ' ' + self.unit}{spread}{', ' + self.verdict if self.verdict else ''}"
        )


def _text(number: float) -> str:
    """Four digits, or all that stand before the point: 0.0123, 1.012, 2.4, 21,340."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def machine(root: Path, device: str, command: str, packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Where and when: date, command, processor, cores, bf16, memory, how busy the machine was, commit, versions."""
    found = detect(device)
    return {
        "date": date.today().isoformat(),
        "command": command,
        **provenance(root, packages),
        **hardware(device),
        "threads": found.threads,
        "bf16": found.bf16,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
    }


def record(where: Mapping[str, Any], rows: Sequence[Row], speeds: Mapping[str, Any]) -> dict[str, Any]:
    """One machine's part of bench.json."""
    kept = [asdict(row) | {"median": row.median, "verdict": row.verdict} for row in rows]
    return {"machine": dict(where), "rows": kept, "images_per_second": dict(speeds)}


def write(folder: Path, measured: Mapping[str, Any]) -> str:
    """Put a machine's part into bench.json in place of its older one, and README.md anew; returns its text."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "bench.json"
    before = json.loads(kept.read_text()) if kept.exists() else []
    parts = [part for part in before if _name(part["machine"]) != _name(measured["machine"])] + [dict(measured)]
    kept.write_text(json.dumps(parts, indent=2) + "\n")
    text = markdown(parts)
    (folder / "README.md").write_text(text)
    return text


def markdown(parts: Sequence[Mapping[str, Any]]) -> str:
    """The machines, ratios and speeds with a column a machine, and what still waits for a GPU."""
    columns = [chr(ord("A") + at) for at in range(len(parts))]
    machines = [[column, *_where(part["machine"])] for column, part in zip(columns, parts, strict=True)]
    on_gpu = any(part["machine"]["device"] != "cpu" for part in parts)
    waiting = [[*row[:1], "not yet run on a GPU", *row[1:]] for row in (NEEDS_A_GPU[2:] if on_gpu else NEEDS_A_GPU)]
    return (
        "# Speed, measured\n\n"
        "Loops take turns in one process; ratios are taken round by round. Every cell has the median, the range, and "
        "which of the goals the median reaches. A share of the machine's limit counts two operations a multiply-add, "
        "forward once and backward twice, beside matrix products of the same precision.\n\n"
        + markdown_table(["", "machine", "made"], machines)
        + "\n"
        + markdown_table(["", "must", "aim", *columns], _rows(parts))
        + "\n"
        + markdown_table(["images a second", "loop", *columns], _speeds(parts))
        + "\n## What needs a GPU\n\n"
        + markdown_table(["", "", "must", "aim"], waiting)
    )


def _name(where: Mapping[str, Any]) -> str:
    precision = "bf16" if where["bf16"] else "no bf16"
    device = "" if where["device"] == "cpu" else f", {where['device']}"
    return f"{where['processor']}, {where['threads']} cores, {precision}, {where['memory_gb']} GB{device}"


def _where(where: Mapping[str, Any]) -> tuple[str, str]:
    commit = f"commit {(where['commit'] or 'unknown')[:12]}{', changed since' if where['dirty'] else ''}"
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return _name(where), (
        f"{where['date']}, `{where['command']}`, {commit}; load before {where['load_before']}; Python "
        f"{where['python']}, {versions}"
    )


def _rows(parts: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    names = ("what", "unit", "must", "aim", "less_is_better")
    found = [
        {row["what"]: Row(values=tuple(row["values"]), **{name: row[name] for name in names}) for row in part["rows"]}
        for part in parts
    ]
    table = []
    for what in dict.fromkeys(what for rows in reversed(found) for what in rows):  # ordered as they are measured now
        goals = next((rows[what].goals for rows in reversed(found) if what in rows), [])
        table.append([what, *goals, *(rows[what].measured if what in rows else "" for rows in found)])
    return table


def _speeds(parts: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    found = [
        {
            (title, loop): Row("", tuple(values), "").measured
            for title, loops in part["images_per_second"].items()
            for loop, values in loops.items()
        }
        for part in parts
    ]
    every = dict.fromkeys(each for speeds in found for each in speeds)
    return [[*each, *(speeds.get(each, "") for speeds in found)] for each in every]


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (columns, ["---"] * len(columns), *rows))
