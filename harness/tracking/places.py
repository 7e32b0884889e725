"""Where a store keeps one run's artifacts: a folder of this machine, or a server that is asked through MLflow's API."""

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
    """How many bytes may still be downloaded from a server to be compared; sizes are compared in any case."""

    bytes: int = 0
    refused: int = 0
    """How many runs were compared by size alone because of it."""

    def take(self, size: int) -> bool:
        """Whether so many bytes are left; they are taken."""
        if size > self.bytes:
            self.refused += 1
            return False
        self.bytes -= size
        return True


class Place(Protocol):
    """One run's artifacts in a store, by their names."""

    def digest(self, name: str) -> str | None:
        """SHA-256 of what is there; None for a file that is not there or not whole."""
        ...

    def is_(self, name: str, sent: Sent) -> bool:
        """Whether a file is, by what can be seen without reading it, what was delivered."""
        ...

    def take(self, name: str, path: Path) -> None:
        """Put a file of the store at `path` on this machine."""
        ...

    def bring(self, path: Path, name: str, as_link: bool) -> None:
        """Put a file of this machine into the store; as a second name of the same file where that can be."""
        ...

    def settle(self, names: Collection[str]) -> None:
        """After the last `bring`: whatever is left to be done or checked."""
        ...


class OnDisk:
    """The folder of a local store."""

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
        """Give the store's file the other's time of change, so that it need not be compared by content again, as after
        the project was copied."""
        times = path.stat()
        if stamp(self._folder / name) != stamp(path):
            os.utime(self._folder / name, ns=(times.st_atime_ns, times.st_mtime_ns))

    def settle(self, names: Collection[str]) -> None:
        pass


class OnServer:
    """A server's, listed with sizes: one request a folder, for the folders that were delivered and no others.

    What has another size than was delivered is damaged. What has the same size is taken for whole, unless it is to be
    compared by content: then it is downloaded, never more than was delivered.

    Args:
        sent: what was delivered.
        by_content: whether files are downloaded and compared.
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
        """Raises TrackingError if what was brought is not there in full."""
        found = self._list(self._brought)
        short = [name for name, size in self._brought.items() if found.get(name) != size]
        if short:
            raise TrackingError(f"the tracking server has not kept {', '.join(short)} in full; see whether it has room")


def digest(path: Path) -> str | None:
    """None for a file that is not there, or is empty as a power cut leaves one: no artifact is."""
    return sha256(path) if path.is_file() and path.stat().st_size else None


def is_(path: Path, sent: Sent) -> bool:
    """Whether a file has the size and time of change that it was delivered with."""
    try:
        return stamp(path) == sent[:2]
    except OSError:
        return False


def _parent(name: str) -> str | None:
    """The folder that an artifact's name begins with; None if it lies at the top."""
    return name.rpartition("/")[0] or None


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
