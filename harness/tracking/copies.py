"""An ended run's files in the store: that they are there, whole and the same, and that the disk has them.

A local store gets its own, file by file, without MLflow: small ones as copies, so that each can be put back from the
other, large ones as a second name of the same file. Whoever writes a file of a run must therefore write it beside and
rename it. The journal is always copied, for it may be appended to. A server gets them through MLflow.
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
    """One run's.

    Args:
        sent: what a receipt says was delivered before, if it says.
        written: what the journal says that the run has left: name → bytes and SHA-256.
        allowed: how much may be downloaded from a server to be compared by content.
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
        """Whether the store's files are compared by what is in them, not by size alone."""
        self._disk = OnDisk(local) if local else None
        self._store: Place = self._disk or OnServer(tracker.client, run.id, self._known(), self.by_content)
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
        """Whether all that was delivered is still there: by size and time of change on this machine, on a server by
        size and, where it is allowed, by content."""
        return bool(self._before) and all(
            self._store.is_(name, sent)
            and (is_(self._here(name), sent) or not self._here(name).exists())
            and (self._disk is not None or not self.by_content or self._store.digest(name) == sent[2])
            for name, sent in self._before.items()
        )

    def bring(self, with_artifacts: bool) -> None:
        """Deliver the journal, and the artifacts of a finished run.

        Raises:
            TrackingError: one was delivered once and is damaged in both places, or the store does not keep it.
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
        """Whether a file is what it was when it was first delivered, or is delivered now, in both places."""
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
        """A file's digest when it was written or first delivered; a journal may have grown since."""
        if name == journal.NAME:
            return None
        written = self._written[name][1] if name in self._written else self._recorded.get(name)
        return self._before[name][2] if name in self._before else written

    def _known(self) -> dict[str, Sent]:
        """What a server was given before; where the receipt was lost, it has the digests and the journal the sizes."""
        recorded = {name: (size, 0, sha) for name, (size, sha) in self._written.items()}
        return {name: sent for name, sent in recorded.items() if self._recorded.get(name) == sent[2]} | self._before

    def _here(self, name: str) -> Path:
        return self._folder / name if name == journal.NAME else self._folder / "artifacts" / name
