"""A disk that fails: at every single write, fsync and rename of a run, for once or from there on; and a full one.

What must hold each time: the process ends by itself with one line of error and a status that is not 0, the last
checkpoint can be loaded, and the same command on a disk that works ends as a run that nobody disturbed. A failure that
cost nothing (MLflow got its events at the next try) may end with status 0, if that end is there at once. Figures' files
are written, but not drawn: there are well over a thousand runs.
"""

import errno
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.attempts import Attempt, Broken, Launcher
from tests.chaos.ending import differences, ending, last_checkpoint_is_good
from tests.chaos.table import Row
from tests.chaos.tiny import SHORT, Projects

OWN, TRACKERS = "runs/", "ml"
"""What the paths of the product's own files begin with, and those of MLflow's: mlflow.db, its journal, mlartifacts."""
DISK_BYTES = 3 * 2**20
LARGEST_ROOM = 2**20
"""Bytes that a run on the small disk may have: too few for two checkpoints and a third that is being written."""
Mode = tuple[int, bool]
"""The error, and whether it stays."""
NO_COMPILER = "not tried: there is no C compiler (cc) to build the failing disk with"
NO_MOUNT = "not tried: mounting a small file system needs root"


@dataclass(frozen=True)
class Counts:
    operations: int | None
    """At how many of the operations on a kind of files the disk fails, evenly spread; None: at every one."""
    own: Sequence[Mode]
    """How it fails for the product's own files."""
    trackers: Sequence[Mode]
    """How it fails for MLflow's."""
    full_disks: int


USUAL = ((errno.ENOSPC, True), (errno.EIO, False))
"""A full disk stays full, a bad block does not come back."""
UNUSUAL = ((errno.ENOSPC, False), (errno.EIO, True))
FULL = Counts(operations=None, own=(*USUAL, *UNUSUAL), trackers=USUAL, full_disks=12)
REDUCED = Counts(operations=2, own=USUAL[:1], trackers=(), full_disks=1)


def rows(counts: Counts, folder: Path) -> Iterator[Row]:
    """See `Counts`. Without a compiler, or without the right to mount, a row says so and counts as not kept."""
    shim = build(folder)
    with Launcher(shim, draw=False) as launch:
        trials = Trials(Projects(folder, launch))
        yield from trials.all_failing(counts) if shim else [Row("a disk that fails", 0, 0, NO_COMPILER)]
        yield trials.full(counts.full_disks)


def build(folder: Path) -> Path | None:
    """The shared library that makes a disk fail; None without a compiler."""
    if shutil.which("cc") is None:
        return None
    source, built = Path(__file__).with_name("shim.c"), folder / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", built, source, "-ldl"], check=True)
    return built


class Trials:
    """Runs on a disk that fails, then on one that works."""

    def __init__(self, projects: Projects):
        self.projects, self.launch = projects, projects.launch
        _, self.expected = projects.whole_run(SHORT)

    def all_failing(self, counts: Counts) -> Iterator[Row]:
        """A row for each error and mode, on the product's own files and on MLflow's."""
        for below, modes in ((OWN, counts.own), (TRACKERS, counts.trackers)):
            for code, stays in modes:
                yield self.failing(Broken(below, 0, code, stays), counts.operations)

    def failing(self, mode: Broken, wanted: int | None) -> Row:
        """The disk fails at operation 1, or 2, or …: a run for each that is tried."""
        counting = self.projects.new(f"count {mode.below[:2]} {mode.error} {mode.stays}")
        total = self._attempt(counting, replace(mode, nth=0)).operations
        tried = range(1, total + 1) if wanted is None or wanted >= total else _spread(total, wanted)
        wrong = [f"operation {nth}: {said}" for nth in tried if (said := self._fail(replace(mode, nth=nth)))]
        error, whose = errno.errorcode[mode.error], "its own files" if mode.below == OWN else "MLflow's files"
        how = "from a write, fsync or rename on" if mode.stays else "at one write, fsync or rename"
        which = f"each of {total}" if len(tried) == total else f"{len(tried)} of {total}, evenly spread"
        promise = f"{error} {how} of {whose}: one line of error, the last checkpoint good, then the same end"
        return Row(promise, len(tried), len(tried) - len(wrong), "; ".join([which, *wrong]))

    def _fail(self, broken: Broken) -> str:
        project = self.projects.new(f"{broken.below[:2]} {broken.error} {broken.stays} {broken.nth}")
        failed = self._attempt(project, broken)
        if failed.operations < broken.nth:
            return "was not reached"
        said = self._after(project, failed)
        if not said:
            shutil.rmtree(project)
        return said

    def _attempt(self, project: Path, broken: Broken) -> Attempt:
        return self.launch(project, command=SHORT, broken=replace(broken, below=f"{project}/{broken.below}"))

    def _after(self, project: Path, failed: Attempt) -> str:
        """What is not as it should be after a failure, or nothing."""
        if said := _saying(failed):
            return said
        if not last_checkpoint_is_good(project):
            return "the last checkpoint cannot be loaded"
        if failed.status and not self.projects.finish(project, SHORT):
            return "it does not finish: " + " ".join((project / "stderr").read_text().splitlines()[-1:])
        found = differences(self.expected, ending(project), aside={"failures"})
        return f"not equal: {', '.join(found)}" if found else ""

    def full(self, disks: int) -> Row:
        """A file system of 3 MB holds the runs' folder, and so much else that a run finds less room each time."""
        promise = "a 3 MB file system runs full: one line of error, the last checkpoint good, then the same end"
        wrong: list[str] = []
        for number in range(disks):
            project, room = self.projects.new(f"full {number}"), LARGEST_ROOM * number // disks
            (project / "runs").mkdir()
            with _small_disk(project / "runs") as mounted:
                if not mounted:
                    return Row(promise, 0, 0, NO_MOUNT)
                ballast = project / "runs" / "ballast"
                ballast.write_bytes(b"\0" * (DISK_BYTES - room))
                failed = self.launch(project, command=SHORT)
                ballast.unlink()
                said = "it did not run full" if failed.status == 0 else self._after(project, failed)
            if said:
                wrong.append(f"{room} bytes of room: {said}")
        return Row(promise, disks, disks - len(wrong), "; ".join(wrong))


def _saying(failed: Attempt) -> str:
    lines = failed.stderr.splitlines()
    if "Traceback" in failed.stdout + failed.stderr:
        return "a traceback"
    if failed.status == 0:
        return f"status 0, and yet {lines}" if lines else ""
    one = len(lines) == 1 and lines[0].startswith("error: ")
    return "" if one and failed.status in (1, 2) else f"status {failed.status} and {len(lines)} lines: {lines[:3]}"


def _spread(total: int, wanted: int) -> list[int]:
    """So many of 1..total, evenly."""
    return [1 + (2 * number + 1) * total // (2 * wanted) for number in range(wanted)]


@contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """A file system of DISK_BYTES in memory, at `folder`; False where it cannot be mounted."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
