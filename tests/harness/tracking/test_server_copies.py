"""Artifacts on a server: what is missing or damaged there, or here, is put back from the other copy, by its digest."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.execution.made import find_made, repair
from harness.records.events import Event
from harness.tracking.delivery import Delivered, Delivery
from harness.tracking.places import Allowance
from harness.tracking.store import TrackingError
from harness.tracking.sync import Courier
from harness.tracking.tracker import Tracker
from tests.chaos.server import Server
from tests.harness.runs import begun, write_finished

FILES = {"predictions.npz": b"predictions", "figures/curves.png": b"curves"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tracker: Tracker) -> Iterator[Server]:
    """MLflow's own, over SQLite; it takes seconds to start."""
    with Server(tmp_path_factory.mktemp("server")) as started:
        shutil.copy(tracker.store.root / "mlflow.db", started.database)  # its migrations take as long again
        started.start()
        yield started


@pytest.fixture
def project(server: Server, tmp_path: Path) -> Tracker:
    return Tracker(tmp_path, server.uri)


@pytest.fixture
def folder(project: Tracker, named: list[Event], tmp_path: Path) -> Path:
    """A finished run, delivered."""
    made = write_finished(tmp_path, named, FILES)
    Delivery(project).deliver(made)
    return made


@pytest.fixture
def there(project: Tracker, server: Server, folder: Path, named: list[Event]) -> Path:
    """Where the server keeps the run's artifacts."""
    (run,) = project.listing(begun(named).spec.experiment)
    return server.artifacts / project.experiment_id(begun(named).spec.experiment) / run.id / "artifacts"


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_a_server_lost_is_put_back(
    project: Tracker, folder: Path, there: Path, named: list[Event], damage: str
) -> None:
    """Seen by its size; figures and the journal too. The delivery after it finds nothing to do."""
    for name in (*FILES, "journal.jsonl"):
        DAMAGES[damage](there / name)
        delivered = Delivery(project).deliver(folder)
        assert delivered == Delivered(begun(named).spec.key, 0, "finished", (name,))
        assert Delivery(project).deliver(folder) is None
    assert {name: (there / name).read_bytes() for name in FILES} == FILES
    assert (there / "journal.jsonl").read_bytes() == (folder / "journal.jsonl").read_bytes()


def test_what_was_changed_on_a_server_is_found_by_sync(
    project: Tracker, folder: Path, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same size: a delivery takes it for whole, `sync` downloads and compares it, as much as it may."""
    (there / "predictions.npz").write_bytes(b"PREDICTIONS")
    assert Delivery(project).deliver(folder) is None
    said: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr("harness.tracking.sync._COMPARED_BYTES", 10)
        assert Courier(project, tmp_path, said.append).sync() == 0
    assert said[0] == "1 runs' artifacts on the server were compared by size alone"
    assert (there / "predictions.npz").read_bytes() == b"PREDICTIONS"
    said.clear()
    assert Courier(project, tmp_path, said.append).sync() == 0
    assert said[0].endswith("0 events delivered, finished, put back: predictions.npz")
    assert (there / "predictions.npz").read_bytes() == b"predictions"
    assert Courier(project, tmp_path, said.append).sync() == 0
    assert said[-1] == "1 runs here: 0 brought up to date"


def test_what_was_lost_here_is_put_back_from_a_server(
    project: Tracker, folder: Path, there: Path, named: list[Event], tmp_path: Path
) -> None:
    """By the next delivery where it is damaged; before a run is made again where it is gone altogether."""
    (folder / "artifacts" / "predictions.npz").write_bytes(b"PREDICTIONS")
    delivered = Delivery(project).deliver(folder)
    assert delivered is not None
    assert delivered.mended == ("predictions.npz",)
    shutil.rmtree(folder / "artifacts")
    made, said = find_made(tmp_path, begun(named).spec), list[str]()
    assert made is not None
    assert repair(made, project, said.append) is not None
    assert said == ["plain seed 0: put back from MLflow: predictions.npz, figures/curves.png"]
    assert {name: (folder / "artifacts" / name).read_bytes() for name in FILES} == FILES


def test_what_is_damaged_here_and_on_the_server_is_named(
    project: Tracker, folder: Path, there: Path, named: list[Event], tmp_path: Path
) -> None:
    """Also when the receipt is lost, and a second run is not made for it."""
    for path in (there / "predictions.npz", folder / "artifacts" / "predictions.npz"):
        path.write_bytes(b"PREDICTIONS")
    one = Delivery(project)
    one.allowed = Allowance(1 << 20)
    with pytest.raises(TrackingError, match=r"predictions.npz (are|is) damaged or missing"):
        one.deliver(folder)
    (folder / "delivered.json").unlink()
    with pytest.raises(TrackingError, match=r"predictions.npz (are|is) damaged or missing"):
        Delivery(project).deliver(folder)
    assert len(project.listing(begun(named).spec.experiment)) == 1
