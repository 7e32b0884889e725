"""`make migrate`: copy all runs of one tracking store into another, and compare them."""

import argparse
import os
from pathlib import Path

from harness.values import SpecError

HELP = "copy all runs of one tracking store into another"


def options(parser: argparse.ArgumentParser) -> None:
    for name, help in (("from", "the store to read"), ("to", "the store to write")):  # see make server
        parser.add_argument(f"--{name}", dest=f"{name}_", default=os.environ.get(name.upper(), ""), help=help)


def act(chosen: argparse.Namespace, root: Path) -> int:
    """Copy, and print what both stores then have; returns the exit status, 1 if they differ.

    Raises:
        SpecError: FROM or TO is not usable.
        TrackingError: a store fails, or another copy is in progress.
    """
    from filelock import FileLock, Timeout

    from harness.tracking import database
    from harness.tracking.address import TrackingError, require_address
    from harness.tracking.migrate import migrate
    from harness.tracking.store import local_uri
    from harness.tracking.tracker import Tracker

    if not chosen.to_:
        raise SpecError(
            "TO must be the address of a tracking store: make migrate FROM=sqlite:////old.db TO=http://host:5000"
        )
    uris = [chosen.from_ or local_uri(root), chosen.to_]
    for uri, name in zip(uris, ("FROM", "TO"), strict=True):
        require_address(uri, name)
    file, other = map(database.file_of, uris)
    if uris[0].rstrip("/") == uris[1].rstrip("/") or (file and other and file.resolve() == other.resolve()):
        raise SpecError("FROM and TO must be two stores; they are the same")
    if file is not None and not file.is_file():
        raise SpecError(f"FROM must be an existing store; {file} does not exist")
    (root / "runs").mkdir(exist_ok=True)
    try:
        with FileLock(root / "runs" / "migrate.lock", timeout=0):
            source, target = (Tracker(root, uri) for uri in uris)
            for tracker in (source, target):
                tracker.store.require_answer()
            here, there = migrate(source, target, lambda line: print(line, flush=True))
    except Timeout as error:
        raise TrackingError("another make migrate is going on in this project; wait for it") from error
    if here != there:
        print(f"not the same: FROM has {here}, TO has {there}; the same command again completes it")
        return 1
    print(f"{here}: the same on both sides; record there with: export MLFLOW_TRACKING_URI=<TO>")
    return 0
