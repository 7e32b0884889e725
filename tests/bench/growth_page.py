"""docs/growth.md and its curves, from the figures that are kept beside them; nothing in it is written by hand."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from harness.artifacts.figures import new, save
from tests.bench import fabricated, table

STORES = {"sqlite": "SQLite, a file of the project's", "postgresql": "PostgreSQL behind `make server`"}
REPORT, MOST_SECONDS, MOST_MEGABYTES = "`make report`", 60.0, 1000.0
"""What a report of 1,000 runs may take."""


@dataclass(frozen=True)
class Cost:
    """One command at one number of runs."""

    what: str
    runs: int
    seconds: float
    """By the clock."""
    processor_seconds: float
    """Of the process and its children, in user and in system."""
    megabytes: float | None
    """Of the largest process, resident; None where it was not measured."""

    def cells(self) -> list[str]:
        return [
            self.what,
            f"{self.runs:,}",
            f"{self.seconds:.1f}",
            f"{self.processor_seconds:.1f}",
            "" if self.megabytes is None else f"{self.megabytes:,.0f}",
        ]


def write(folder: Path, store: str, where: Mapping[str, Any], costs: Sequence[Cost]) -> None:
    """Put a store's figures into growth.json beside the other's, and growth.md and growth.png anew from both."""
    kept = folder / "growth.json"
    parts = json.loads(kept.read_text()) if kept.exists() else {}
    parts[store] = {"where": dict(where), "costs": [asdict(cost) for cost in costs]}
    parts = {name: parts[name] for name in STORES if name in parts}
    kept.write_text(json.dumps(parts, indent=2) + "\n")
    found = {name: [Cost(**cost) for cost in part["costs"]] for name, part in parts.items()}
    draw(found, folder / "growth.png")
    (folder / "growth.md").write_text(markdown({name: part["where"] for name, part in parts.items()}, found))


def markdown(where: Mapping[str, Mapping[str, Any]], costs: Mapping[str, Sequence[Cost]]) -> str:
    """The page: for every store where it was measured and the table; the curves."""
    return (
        "# What more runs cost\n\n"
        f"`make bench-growth` writes this page. {fabricated.ABOUT} They are written by the harness's own code and "
        "never trained. Processor seconds are of all processes of a command, user and system, without those of a "
        "server that it calls; on a machine that others use they tell more than seconds.\n\n"
        + "\n".join(_section(store, where[store], costs[store]) for store in costs)
        + "\n![Processor seconds of each command by number of runs](growth.png)\n"
    )


def _section(store: str, where: Mapping[str, Any], costs: Sequence[Cost]) -> str:
    commit = f"commit {str(where['commit'] or 'unknown')[:12]}{', changed since' if where['dirty'] else ''}"
    columns = ["", "runs", "seconds", "processor seconds", "peak memory, MB"]
    return (
        f"## {STORES[store]}\n\n"
        f"{where['date']}, `{where['command']}`, {commit}: {where['processor']}, {where['threads']} cores, "
        f"{where['memory_gb']} GB, load {where['load_before']} before.\n\n"
        + table.markdown_table(columns, [cost.cells() for cost in costs])
        + "".join(f"\n{line}\n" for line in [*_report(costs), *_growth(costs)])
    )


def _report(costs: Sequence[Cost]) -> list[str]:
    """How a report of 1,000 runs compares with what it may take."""
    for cost in costs:
        if cost.what == REPORT and cost.runs == 1000 and cost.megabytes is not None:
            kept = cost.seconds <= MOST_SECONDS and cost.megabytes <= MOST_MEGABYTES
            return [
                f"A report of 1,000 runs may take {MOST_SECONDS:.0f} s and {MOST_MEGABYTES:,.0f} MB; it took "
                f"{cost.seconds:.1f} s and {cost.megabytes:,.0f} MB: {'kept' if kept else '**not kept**'}."
            ]
    return []


def _growth(costs: Sequence[Cost]) -> list[str]:
    """How many times as much the most runs take as the next fewer."""
    words = []
    for name, points in _lines(costs).items():
        if len(points) > 1:
            fewer, most = sorted(points, key=lambda cost: cost.runs)[-2:]
            times = most.processor_seconds / fewer.processor_seconds
            words.append(f"{name} {times:.1f} times ({fewer.runs:,} to {most.runs:,} runs)")
    return [f"Processor seconds grow: {'; '.join(words)}."] if words else []


def _lines(costs: Sequence[Cost]) -> dict[str, list[Cost]]:
    """Command, without how many runs it delivers → its costs."""
    lines: dict[str, list[Cost]] = {}
    for cost in costs:
        lines.setdefault(re.sub(r", [\d,]+ to deliver|`", "", cost.what), []).append(cost)
    return lines


def draw(costs: Mapping[str, Sequence[Cost]], file: Path) -> Figure:
    """Processor seconds by number of runs, both logarithmic; a panel a store, a line a command."""
    figure = new(1 + 4.4 * len(costs), 4.2)
    panels = figure.subplots(1, len(costs), squeeze=False, sharey=True)[0]
    for axes, (store, found) in zip(panels, costs.items(), strict=True):
        for name, points in _lines(found).items():
            axes.plot([p.runs for p in points], [p.processor_seconds for p in points], marker="o", label=name)
        axes.set(xscale="log", yscale="log", xlabel="runs", title=STORES[store].replace("`", ""))
    panels[0].set_ylabel("processor seconds")
    panels[0].legend(fontsize=8)
    save(figure, file)
    return figure
