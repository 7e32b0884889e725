"""The place of a run's artifacts in a store: a folder on this machine, or a server accessed through MLflow's API."""

import os
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.environment.files import put
from harness.tracking.receipt import Sent, sha256, stamp
from harness.tracking.store import TrackingError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

LINK_FROM_BYTES = 1 << 20
NEVER = 1 << 62


@dataclass
class Allowance:
    """The number of bytes that may still be downloaded from a server for comparison; sizes are always compared."""

    bytes: int = 0
    refused: int = 0
    """Number of runs that were compared only by size because of this limit."""

    def take(self, size: int) -> bool:
        """Use up `size` bytes; returns False if fewer are left."""
        if size > self.bytes:
            self.refused += 1
            return False
        self.bytes -= size
        return True


class Place(Protocol):
    """The artifacts of one run in a store."""

    def digest(self, name: str) -> str | None:
        """SHA-256 of a file in the store; None if it is missing or damaged."""
        ...

    def is_(self, name: str, sent: Sent) -> bool:
        """True if a file agrees with what was delivered, as far as can be seen without reading it."""
        ...

    def take(self, name: str, path: Path) -> None:
        """Copy a file of the store to `path` on this machine."""
        ...

    def bring(self, path: Path, name: str, as_link: bool) -> None:
        """Copy a file of this machine to the store; with `as_link` as a hard link if possible."""
        ...

    def settle(self, names: Collection[str]) -> None:
        """Complete and check the files after the last `bring`."""
        ...


class OnDisk:
    """Artifacts in a folder of a local store."""

    def __init__(self, folder: Path):
        self._folder = folder

    def digest(self, name: str) -> str | None:
        return digest(self._folder / name)

    def is_(self, name: str, sent: Sent) -> bool:
        return is_(self._folder / name, sent)

    def take(self, name: str, path: Path) -> None:
        put(self._folder / name, _made(path), NEVER)

    def bring(self, path: Path, name: str, as_link: bool) -> None:
        put(path, _made(self._folder / name), LINK_FROM_BYTES if as_link else NEVER)

    def same_time(self, path: Path, name: str) -> None:
        """Copy the modification time to the store's file, so that it need not be compared by content again, for example
        after the project was copied."""
        times = path.stat()
        if stamp(self._folder / name) != stamp(path):
            os.utime(self._folder / name, ns=(times.st_atime_ns, times.st_mtime_ns))

    def settle(self, names: Collection[str]) -> None:
        pass


class OnServer:
    """Artifacts on a server, listed with their sizes by one request per delivered folder.

    A file with another size than was delivered is damaged. A file of the same size counts as intact unless it is
    compared by content, for which it is downloaded (never more bytes than were delivered).

    Args:
        sent: what was delivered.
        by_content: download and compare the files.
    """

    def __init__(self, client: "MlflowClient", run_id: str, sent: Mapping[str, Sent], by_content: bool):
        self._client, self._run_id, self._sent, self._by_content = client, run_id, sent, by_content
        self._brought: dict[str, int] = {}

    @cached_property
    def _sizes(self) -> dict[str, int | None]:
        return self._list({*self._sent})

    def _list(self, names: Collection[str]) -> dict[str, int | None]:
        folders = sorted({_parent(name) or "" for name in names})
        found = [file for at in folders for file in self._client.list_artifacts(self._run_id, at or None)]
        return {file.path: file.file_size for file in found if not file.is_dir}

    def digest(self, name: str) -> str | None:
        if name not in self._sent or not self.is_(name, self._sent[name]):
            return None
        if not self._by_content:
            return self._sent[name][2]
        with tempfile.TemporaryDirectory(prefix="harness-compared-") as folder:
            return digest(Path(self._client.download_artifacts(self._run_id, name, folder)))

    def is_(self, name: str, sent: Sent) -> bool:
        return self._sizes.get(name) == sent[0]

    def take(self, name: str, path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="harness-compared-") as folder:
            found = Path(self._client.download_artifacts(self._run_id, name, folder))
            if digest(found) != self._sent[name][2]:
                raise TrackingError(f"{name} is damaged or missing here, and is not what was delivered on the server")
            put(found, _made(path), NEVER)

    def bring(self, path: Path, name: str, as_link: bool) -> None:
        self._client.log_artifact(self._run_id, str(path), _parent(name))
        self._brought[name] = path.stat().st_size

    def settle(self, names: Collection[str]) -> None:
        """Check that the server has kept all files in full.

        Raises:
            TrackingError: it has not.
        """
        found = self._list(self._brought)
        short = [name for name, size in self._brought.items() if found.get(name) != size]
        if short:
            raise TrackingError(f"the tracking server has not kept {', '.join(short)} in full; see whether it has room")


def digest(path: Path) -> str | None:
    """SHA-256 of a file; None if it is missing or empty. No artifact is empty, but a power failure may leave one so."""
    return sha256(path) if path.is_file() and path.stat().st_size else None


def is_(path: Path, sent: Sent) -> bool:
    """True if a file has the size and modification time that it had when it was delivered."""
    try:
        return stamp(path) == sent[:2]
    except OSError:
        return False


def _parent(name: str) -> str | None:
    """The folder part of an artifact's name; None for a file at the top level."""
    return name.rpartition("/")[0] or None


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
