"""An ended run's files in the store: that they are there, whole and the same, and that the disk has them.

A local store gets its own, file by file, without MLflow: small ones as copies, so that each can be put back from the
other, large ones as a second name of the same file. Whoever writes a file of a run must therefore write it beside and
rename it. The journal is always copied, for it may be appended to.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from harness.files import put
from harness.records import journal
from harness.tracking.listing import Listed
from harness.tracking.receipt import Sent, sha256, stamp
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Tracker

LINK_FROM_BYTES = 1 << 20
_NEVER = 1 << 62


class Copies:
    """One run's.

    Args:
        sent: what a receipt says was delivered before, if it says.
    """

    def __init__(self, tracker: Tracker, run: Listed, folder: Path, sent: Mapping[str, Sent] | None):
        self._client, self._run, self._folder = tracker.client, run, folder
        self._store = tracker.folder(run)
        self._before, self._recorded = dict(sent or {}), run.digests
        self.sent: dict[str, Sent] = {}
        """What is delivered, after `bring`."""
        self.mended: tuple[str, ...] = ()
        """What had been delivered and was put back."""
        self.journal = stamp(folder / journal.NAME)

    @property
    def digests(self) -> dict[str, str]:
        """Name → SHA-256, but for the figures, which are only looked at."""
        return {name: sha for name, (_, _, sha) in self.sent.items() if not name.startswith("figures/")}

    def are_whole(self) -> bool:
        """Whether all that was delivered is still there, by size and time of change; a server is not asked."""
        if not self._before:
            return False
        if self._store is None:
            return True
        return all(
            _is(self._store / name, sent) and (_is(self._here(name), sent) or not self._here(name).exists())
            for name, sent in self._before.items()
        )

    def bring(self, with_artifacts: bool) -> None:
        """Deliver the journal, and the artifacts of a finished run.

        Raises:
            TrackingError: one was delivered once and is damaged in both places.
        """
        folder = self._folder / "artifacts"
        found = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        before = [name for name in self._before if name != journal.NAME]
        names = list(dict.fromkeys([*found, *before])) if with_artifacts else []
        damaged = [name for name in [*names, journal.NAME] if not self._bring(name)]
        if damaged:
            raise TrackingError(
                f"of run {self._run.key}, {', '.join(damaged)} are damaged or missing, in the store and in "
                f"{self._folder.parent.name}/{self._folder.name} of runs/; remove that folder and make the run again"
            )
        if self._store is None:
            self._upload(folder, bool(names))

    def _bring(self, name: str) -> bool:
        """Whether a file is what it was when it was first delivered, or is delivered now, in both places."""
        here, there = self._here(name), self._store / name if self._store else None
        own, stored, expected = _digest(here), _digest(there), self._expected(name)
        good = expected or own or stored
        if good is None or good not in (own, stored):
            return False
        if there is not None:
            if own != good:
                put(there, _made(here), _NEVER)
            if stored != good:
                put(here, _made(there), _NEVER if name == journal.NAME else LINK_FROM_BYTES)
            if {own, stored} != {good} and self._before.get(name, (0, 0, ""))[2] == good:
                self.mended = (*self.mended, name)
            if stored == good and stamp(there) != stamp(here):  # as in a copied project: not compared by content again
                times = here.stat()
                os.utime(there, ns=(times.st_atime_ns, times.st_mtime_ns))
        elif own != good:
            return False
        self.sent[name] = (*stamp(here), good)
        return True

    def _expected(self, name: str) -> str | None:
        """A file's digest when it was first delivered; a journal may have grown since."""
        if name == journal.NAME:
            return None
        return self._before[name][2] if name in self._before else self._recorded.get(name)

    def _upload(self, folder: Path, any_artifacts: bool) -> None:
        if any_artifacts:
            self._client.log_artifacts(self._run.id, str(folder))
        self._client.log_artifact(self._run.id, str(self._folder / journal.NAME))

    def _here(self, name: str) -> Path:
        return self._folder / name if name == journal.NAME else self._folder / "artifacts" / name


def _digest(path: Path | None) -> str | None:
    """None for a file that is not there, or is empty as a power cut leaves one: no artifact is."""
    return sha256(path) if path is not None and path.is_file() and path.stat().st_size else None


def _is(path: Path, sent: Sent) -> bool:
    try:
        return stamp(path) == sent[:2]
    except OSError:
        return False


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
