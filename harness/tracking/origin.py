"""A project's identity, which tells its runs from those of other projects in the same tracking store."""

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
    """A project's random name, which is recorded with each of its runs as the tag `origin`.

    The name is stored in `runs/origin`, and in `mlartifacts/origin` beside a local store's artifacts, so that runs made
    again after `runs/` was deleted replace the old ones. Beside it, the project's location at its last use is stored:
    the inodes of its folder and of `runs/`, its path, and the machine. They decide whether the files are the project
    itself, possibly moved, or a copy:

    - same inodes: the project itself, also after `mv`, or accessed from another machine over a network file system;
    - other inodes, same machine, and no project with this name at the recorded path: the project, moved between file
      systems or restored from a backup;
    - anything else, such as `cp -r`: a copy. It gets a new name, and does not change what the original records.

    A project that was moved to another machine is treated as a copy, because the original may still exist. Runs that it
    had delivered to a server are kept and not delivered again; unfinished runs are recorded again under the new name,
    and `make forget` deletes only runs with the new name. A local store that was copied with the project belongs to the
    copy: in it, runs with a name in `before` count as the project's own.

    Limits: clones of a disk image have the same inodes and cannot be distinguished. Neither can copies made before
    November 2026, when locations were not recorded, or copies made to the original's old path after it was moved and
    before it was used again.
    """

    name: str
    before: tuple[str, ...] = ()
    """The names of the projects that this one was copied from, the most recent first."""
    inodes: tuple[int, int] | None = None
    path: str = ""
    machine: str = ""


def origin_of(root: Path, is_own: bool) -> Origin:
    """The project's origin, created or renewed if necessary. The caller must hold the project's lock.

    Args:
        is_own: True if the project records in its own store, beside whose artifacts the name is stored as well.

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
        if renewed:  # otherwise only the location is outdated, in a read-only project
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
    """Read a stored origin; None if there is none. Before November 2026 the file held only the name."""
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
