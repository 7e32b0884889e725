"""The artifacts of an ended run in the store: deliver them, verify that they are intact, and restore damaged ones.

A local store receives files directly, without MLflow: small files as copies, so that either copy can be restored from
the other, large files as hard links. Files of a run must therefore be replaced by renaming, never changed in place. The
journal is always copied, because it may be appended to. A server receives files through MLflow.
"""

from collections.abc import Mapping
from pathlib import Path

from harness.records import journal
from harness.tracking.listing import Listed
from harness.tracking.places import Allowance, OnDisk, OnServer, Place, digest, is_
from harness.tracking.receipt import Sent, stamp
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Tracker


class Copies:
    """The two copies, in `runs/` and in the store, of one run's artifacts.

    Args:
        sent: what was delivered before according to the receipt, if known.
        written: the artifacts recorded in the journal: name → (size in bytes, SHA-256).
        allowed: how much may be downloaded from a server to compare files by content.
    """

    def __init__(
        self,
        tracker: Tracker,
        run: Listed,
        folder: Path,
        sent: Mapping[str, Sent] | None,
        written: Mapping[str, tuple[int, str]],
        allowed: Allowance,
    ):
        self._run, self._folder, self._written, self._recorded = run, folder, written, run.digests
        self._before = dict(sent or {})
        local = tracker.folder(run)
        self.by_content = local is not None or (
            allowed.bytes > 0 and bool(self._before) and allowed.take(sum(size for size, _, _ in self._before.values()))
        )
        """True if the store's files are compared by content, not only by size."""
        self._disk = OnDisk(local) if local else None
        self._store: Place = self._disk or OnServer(tracker.client, run.id, self._known(), self.by_content)
        self.sent: dict[str, Sent] = {}
        """The delivered files, set by `bring`."""
        self.mended: tuple[str, ...] = ()
        """Names of delivered files that were restored."""
        self.journal = stamp(folder / journal.NAME)

    @property
    def digests(self) -> dict[str, str]:
        """Name → SHA-256, except for figures, which only people look at."""
        return {name: sha for name, (_, _, sha) in self.sent.items() if not name.startswith("figures/")}

    def are_whole(self) -> bool:
        """True if all delivered files are intact: on this machine by size and modification time, on a server by size
        and, if allowed, by content."""
        return bool(self._before) and all(
            self._store.is_(name, sent)
            and (is_(self._here(name), sent) or not self._here(name).exists())
            and (self._disk is not None or not self.by_content or self._store.digest(name) == sent[2])
            for name, sent in self._before.items()
        )

    def bring(self, with_artifacts: bool) -> None:
        """Deliver the journal and, for a finished run, the artifacts.

        Raises:
            TrackingError: a delivered file is damaged in both places, or the store did not keep a file.
        """
        folder = self._folder / "artifacts"
        found = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        before = [name for name in (*self._before, *self._written) if name != journal.NAME]
        names = list(dict.fromkeys([*found, *before])) if with_artifacts else []
        damaged = [name for name in [*names, journal.NAME] if not self._bring(name)]
        if damaged:
            raise TrackingError(
                f"of run {self._run.key}, {', '.join(damaged)} are damaged or missing, in the store and in "
                f"{self._folder.parent.name}/{self._folder.name} of runs/; remove that folder and make the run again"
            )
        self._store.settle(names)

    def _bring(self, name: str) -> bool:
        """Deliver or restore a file; returns True if both copies are then what was first delivered."""
        here, expected = self._here(name), self._expected(name)
        own, stored = digest(here), self._store.digest(name)
        good = expected or own or stored
        if good is None or good not in (own, stored):
            return False
        if own != good:
            self._store.take(name, here)
        if stored != good:
            self._store.bring(here, name, as_link=name != journal.NAME)
        if {own, stored} != {good} and self._before.get(name, (0, 0, ""))[2] == good:
            self.mended = (*self.mended, name)
        if self._disk and stored == good:
            self._disk.same_time(here, name)
        self.sent[name] = (*stamp(here), good)
        return True

    def _expected(self, name: str) -> str | None:
        """SHA-256 of a file when it was written or first delivered; None if unknown, as for a journal, which grows."""
        if name == journal.NAME:
            return None
        written = self._written[name][1] if name in self._written else self._recorded.get(name)
        return self._before[name][2] if name in self._before else written

    def _known(self) -> dict[str, Sent]:
        """What was delivered to a server before; without a receipt, the server's digests and the journal's sizes."""
        recorded = {name: (size, 0, sha) for name, (size, sha) in self._written.items()}
        return {name: sent for name, sent in recorded.items() if self._recorded.get(name) == sent[2]} | self._before

    def _here(self, name: str) -> Path:
        return self._folder / name if name == journal.NAME else self._folder / "artifacts" / name
