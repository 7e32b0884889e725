"""What was measured, as rows beside what must be reached: JSON that keeps every value, Markdown made from it alone."""

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

    def cells(self) -> list[str]:
        low, high = min(self.values), max(self.values)
        spread = f" ({_text(low)} to {_text(high)})" if len(self.values) > 1 else ""
        goals = ["" if goal is None else f"{_text(goal)} {self.unit}" for goal in (self.must, self.aim)]
        return [self.what, f"{_text(self.median)} {self.unit}{spread}", *goals, self.verdict]


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
    """One device's part of bench.json."""
    kept = [asdict(row) | {"median": row.median, "verdict": row.verdict} for row in rows]
    return {"machine": dict(where), "rows": kept, "images_per_second": dict(speeds)}


def write(folder: Path, part: str, measured: Mapping[str, Any]) -> str:
    """Put a device's part into bench.json beside the other's, and README.md anew from both; returns its text."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "bench.json"
    parts = json.loads(kept.read_text()) if kept.exists() else {}
    parts[part] = measured
    kept.write_text(json.dumps(parts, indent=2) + "\n")
    text = markdown(parts)
    (folder / "README.md").write_text(text)
    return text


def markdown(parts: Mapping[str, Any]) -> str:
    """The tables of every device measured, and what still waits for a GPU."""
    sections = [_section(part, parts[part]) for part in sorted(parts)]
    waiting = NEEDS_A_GPU[2:] if "cuda" in parts else NEEDS_A_GPU
    rows = [[what, "not yet run on a GPU", must, aim, ""] for what, must, aim in waiting]
    sections.append("## What needs a GPU\n\n" + markdown_table(_COLUMNS, rows))
    return "# Speed, measured\n\n" + "\n".join(sections)


_COLUMNS = ["", "measured: median (range)", "must", "aim", "reaches"]


def _section(part: str, measured: Mapping[str, Any]) -> str:
    where = measured["machine"]
    names = ("what", "unit", "must", "aim", "less_is_better")
    rows = [Row(values=tuple(row["values"]), **{name: row[name] for name in names}) for row in measured["rows"]]
    speeds = [
        [title, name, Row("", tuple(values), "images/s").cells()[1]]
        for title, loops in measured["images_per_second"].items()
        for name, values in loops.items()
    ]
    commit = f"commit {(where['commit'] or 'unknown')[:12]}{', changed since' if where['dirty'] else ''}"
    lines = [
        f"## {part.upper()}",
        "",
        f"{where['date']}, `{where['command']}`, {commit}. {where['processor']}, {where['threads']} cores, "
        f"{'bf16' if where['bf16'] else 'no bf16'}, {where['memory_gb']} GB, device {where['device']}; load before "
        f"{where['load_before']}. Python {where['python']}, "
        + ", ".join(f"{name} {version}" for name, version in where["versions"].items())
        + ". Loops take turns in one process; ratios are taken round by round.",
        "",
        markdown_table(_COLUMNS, [row.cells() for row in rows]),
        markdown_table(["", "loop", "images/s: median (range)"], speeds),
    ]
    return "\n".join(lines)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (columns, ["---"] * len(columns), *rows))
