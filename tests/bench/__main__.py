"""`make bench`: ours beside what people use instead, written to reports/out/bench/README.md and bench.json,
beside the machines that are published.

The notebook's loop, Lightning's Trainer and the bare step take turns with ours, for `resnet` and `norm_cnn`; then the
augmentation alone, tracking's share, memory and start-up. `make bench GPU=1` does the same on CUDA, and times the
public command. About a quarter of an hour on 2 CPU cores; leave the machine alone meanwhile.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import torch

from harness.commands.parser import switch
from harness.values import HarnessError
from tests.bench import table

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Measure, write and print the tables; 2 when that cannot be done, with one line that says why."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--gpu", default="", help="1 measures on CUDA")
    parser.add_argument("--data", default="", help="what the public command trains on, with --gpu=1")
    parser.add_argument("--quick", action="store_true", help="shows that everything works; its figures mean nothing")
    chosen = parser.parse_args(arguments)
    try:
        print(_measure(device_for(chosen.gpu), chosen.data, chosen.quick, root))
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _measure(device: str, data: str, quick: bool, root: Path) -> str:
    from tests.bench.sections import FULL, QUICK, Speeds, rows  # Lightning among them, which a refusal can do without

    command = f"make bench{' GPU=1' if device == 'cuda' else ''}{' (quick: not a result)' if quick else ''}"
    where = table.machine(root, device, command)
    torch.set_num_threads(where["threads"])
    speeds: Speeds = {}
    folder, measured, text = root / "reports" / "out" / ("bench-quick" if quick else "bench"), [], ""
    if not quick:  # beside the machines that are published
        shutil.copytree(root / "reports" / "published" / "bench", folder, dirs_exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for row in rows(QUICK if quick else FULL, device, data, Path(scratch), speeds):
            measured.append(row)  # what is measured is kept, whatever becomes of the rest
            text = table.write(folder, table.record(where, measured, speeds))
    return text


def device_for(gpu: str) -> str:
    """The device that GPU= asks for.

    Raises:
        HarnessError: neither 1 nor nothing, or no CUDA device is here.
    """
    asked = switch(gpu, "GPU")
    if asked and not torch.cuda.is_available():
        raise HarnessError("GPU=1 needs a CUDA device, and torch sees none; run make bench without it")
    return "cuda" if asked else "cpu"


if __name__ == "__main__":
    sys.exit(main())
