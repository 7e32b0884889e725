"""What identifies a project, so that its runs are told from those of others in the same tracking store."""

import json
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

from harness.environment.files import write_whole

_PLACES = ("runs", "mlartifacts")


@dataclass(frozen=True)
class Origin:
    """A project's own name, drawn once, which every run that it records bears as the tag `origin`.

    It is kept in `runs/origin`, and in `mlartifacts/origin` beside a local store's artifacts, so that runs made again
    after `runs/` was deleted replace the old ones. Next to it stands where the project lay when the name was last used:
    the inodes of its folder and of `runs/`, its path, the machine. From these follows whether the files are the
    project, moved perhaps, or a copy of it:

    - the same inodes: the project itself, also after `mv`, or seen from another machine over a network file system;
    - other inodes, same machine, and nothing at the recorded path bears the name any more: the project, moved between
      file systems or put back from a backup;
    - anything else, `cp -r` above all: a copy. It draws a name of its own, and leaves alone what the original records.

    A project that was moved to another machine looks like a copy, since the original may live on. What it had delivered
    to a server stays and is not delivered again; runs that had not ended are recorded anew under the new name, and
    `make forget` there deletes only what bears it. The store's file that was copied with a project belongs to the copy:
    in it, runs of the names in `before` count as its own.

    Limits: clones of a whole disk image have the same inodes and cannot be told apart; nor can copies made before
    November 2026, when the place was not recorded, or made at a moved original's old path before that was used again.
    """

    name: str
    before: tuple[str, ...] = ()
    """The names of the projects that this one is a copy of, the nearest first."""
    inodes: tuple[int, int] | None = None
    path: str = ""
    machine: str = ""


def origin_of(root: Path, is_own: bool) -> Origin:
    """The project's origin, drawn or renewed if need be. The caller holds the project's lock.

    Args:
        is_own: whether it records in the project's own store, beside whose artifacts the name is kept, too.

    Raises:
        OSError: a new name cannot be written.
    """
    places = [root / name / "origin" for name in (_PLACES if is_own else _PLACES[:1])]
    kept = [_read(root / name / "origin") for name in (_PLACES if is_own else _PLACES[:1])]
    known = next((each for each in kept if each), None)
    (root / "runs").mkdir(exist_ok=True)
    now = _here(root, known or Origin(uuid4().hex))
    if known and _is_copy(root, known, now):
        now = replace(now, name=uuid4().hex, before=(known.name, *known.before))
    renewed = known is None or known.name != now.name
    try:
        _write(now, (path for path, old in zip(places, kept, strict=True) if old != now))
    except OSError:
        if renewed:  # else only the place is out of date, in a project that cannot be written to
            raise
    return now


def _here(root: Path, origin: Origin) -> Origin:
    inodes = (root.stat().st_ino, (root / "runs").stat().st_ino)
    return replace(origin, inodes=inodes, path=str(root.resolve()), machine=platform.node())


def _is_copy(root: Path, known: Origin, now: Origin) -> bool:
    if known.inodes is None or known.inodes == now.inodes:
        return False
    if known.machine != now.machine:
        return True
    there = Path(known.path)
    lives = any(found.name == known.name for name in _PLACES if (found := _read(there / name / "origin")))
    return lives and there != root.resolve()


def _read(path: Path) -> Origin | None:
    """None if there is none; before November 2026 it was the name alone."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        text = path.read_text()
        if not text.startswith("{"):
            return Origin(text) if text else None
        kept = json.loads(text)
        root, runs = kept["inodes"]
        return Origin(**kept | {"before": tuple(kept["before"]), "inodes": (int(root), int(runs))})
    return None


def _write(origin: Origin, places: Iterable[Path]) -> None:
    for path in places:
        path.parent.mkdir(exist_ok=True)
        write_whole(path, json.dumps(asdict(origin)).encode())
