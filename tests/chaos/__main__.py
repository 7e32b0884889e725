"""`make chaos`: every section's promises, tried in full; writes reports/out/chaos/README.md and chaos.json.

Sections given by name are made anew and take their places beside what earlier runs have left there, so that a long full
run can be done in parts. The exit status is 1 if any promise that was tried now is not kept.
"""

import importlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import torch

from harness.environment import code_at_start, processor
from tests.chaos.table import Row, markdown

PROJECT = Path(__file__).resolve().parents[2]
SECTIONS = {
    "kills": "Killed and stopped",
    "checkpoints": "Damaged checkpoints",
    "disk": "Disks that fail",
    "tracker": "A tracker that is down, slow or lossy",
    "parallel": "Many at once",
    "grid": "Workers of a grid that are killed",
    "team": "A team's server that is killed",
    "hostile": "Hostile input",
    "repeat": "The same weights again",
}


def main(arguments: Sequence[str]) -> int:
    """Make the sections named, else all that are there; 0 if every promise was kept, 1 if not, 2 for a wrong name."""
    asked = " ".join(arguments).split() or [name for name in SECTIONS if _is_there(name)]
    wrong = [name for name in asked if name not in SECTIONS or not _is_there(name)]
    if wrong:
        print(f"error: SECTIONS must be of {', '.join(filter(_is_there, SECTIONS))}; got {wrong[0]!r}", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGHUP):  # nohup and a shell's background jobs would have them ignored
        signal.signal(number, signal.SIG_DFL)
    out = PROJECT / "reports" / "out" / "chaos"
    out.mkdir(parents=True, exist_ok=True)
    kept = True
    for name in asked:
        made = section(name)
        kept = kept and all(Row(**row).kept for row in made["rows"])
        merge(out, name, made)
    print(f"written to {(out / 'README.md').relative_to(PROJECT)}")
    return 0 if kept else 1


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(f"tests.chaos.{name}") is not None


def section(name: str) -> dict[str, Any]:
    """One section in full: its rows as they come, and where, when and in how long they were made."""
    module = importlib.import_module(f"tests.chaos.{name}")
    folder, began = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-")), time.monotonic()
    rows: list[Row] = []
    for row in module.rows(module.FULL, folder):
        rows.append(row)
        verdict = "kept" if row.kept else "NOT KEPT"
        seconds = time.monotonic() - began
        print(f"{name} {seconds:7.0f} s  {verdict}  {row.held}/{row.tried}  {row.promise}  {row.detail}", flush=True)
    if all(row.kept for row in rows):
        shutil.rmtree(folder)
    else:
        print(f"{name}: what it worked on is left in {folder}")
    return {"rows": [asdict(row) for row in rows], "seconds": round(time.monotonic() - began), **provenance(name)}


def provenance(name: str) -> dict[str, Any]:
    """Where and when a section was made, and by which command."""
    code = code_at_start(PROJECT)
    return {
        "date": str(date.today()),
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "commit": str(code["commit"])[:12] + (" and uncommitted changes" if code["dirty"] else ""),
        "command": f"make chaos SECTIONS={name}",
    }


def merge(out: Path, name: str, made: dict[str, Any]) -> None:
    """Put a section in its place in chaos.json, and write the table anew."""
    path = out / "chaos.json"
    sections = json.loads(path.read_text()) if path.exists() else {}
    sections[name] = made
    sections = {name: sections[name] for name in SECTIONS if name in sections}
    path.write_text(json.dumps(sections, indent=2) + "\n")
    (out / "README.md").write_text(page(sections))


def page(sections: dict[str, dict[str, Any]]) -> str:
    """All sections as Markdown."""
    parts = ["# What was tried to break it\n\n`held` counts how often a promise held, of the times it was tried.\n"]
    for name, made in sections.items():
        where = f"{made['processor']}, {made['cores']} cores, torch {made['torch']}, commit {made['commit']}"
        parts.append(f"## {SECTIONS[name]}\n\n`{made['command']}`, {made['date']}, {where}: {made['seconds']} s.\n")
        parts.append(markdown(Row(**row) for row in made["rows"]))
    if missing := [title for name, title in SECTIONS.items() if name not in sections]:
        parts.append(f"## Not tried in full yet\n\n{', '.join(missing)}: only the reduced counts of `make test`.\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
