"""Write reports from recorded runs: `python -m reports "a b"` joins experiments a and b."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.data import open_cached
from harness.spec import HarnessError
from harness.tracking import Tracker
from reports.build import build
from reports.errors import Images
from reports.select import Selection, select

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 bad input or runs that cannot be compared."""
    parser = argparse.ArgumentParser(prog="reports", description=__doc__)
    parser.add_argument("experiments", help="names, separated by spaces")
    chosen = parser.parse_args(arguments)
    try:
        return _write(chosen.experiments.split(), os.environ.get("ALLOW", "").split())
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _write(names: Sequence[str], allowed: Sequence[str]) -> int:
    if not names:
        raise HarnessError('EXP must name one experiment or several, as in: make report EXP="a b"')
    tracker = Tracker(ROOT)
    selections = [select(tracker, name) for name in names]
    folder = ROOT / "reports" / "out" / "-".join(names)
    build(selections, folder, allowed, [images_of(selection) for selection in selections])
    for name in names:
        tracker.add_to_summary(name, folder)
    print(f"report: {(folder / 'report.md').relative_to(ROOT)}")
    return 0


def images_of(selection: Selection) -> Images | None:
    """The test images, from the decoded cache, if this machine has it."""
    if not selection.records:
        return None
    cached = open_cached(selection.records[0].started.data.checksum, ROOT)
    return Images(cached.test.images, cached.classes) if cached else None


if __name__ == "__main__":
    sys.exit(main())
