"""Who is making a run, on this machine and on others: locks and heartbeats."""

import os
import threading
import time
from pathlib import Path

import pytest

from harness.records import holding
from harness.records.holding import NAME, STALE_SECONDS, Holder, hold, is_held

ELSEWHERE = Holder(host="node7", kernel="another boot", process=17, token="theirs")


def _alive(folder: Path, holder: Holder, seconds_ago: float) -> Path:
    """A heartbeat as another process leaves it."""
    folder.mkdir(exist_ok=True)
    (folder / "lock").touch()
    path = folder / NAME
    path.write_text(holder.model_dump_json())
    when = time.time() - seconds_ago
    os.utime(path, (when, when))
    return path


def test_a_run_is_held_until_its_holder_lets_go(tmp_path: Path) -> None:
    """By one at a time; nothing but the lock's file stays behind."""
    with hold(tmp_path) as held:
        assert held
        assert is_held(tmp_path)
        with hold(tmp_path) as second:
            assert second is None
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize(("seconds_ago", "alive"), [(0, True), (STALE_SECONDS - 30, True), (STALE_SECONDS + 5, False)])
def test_another_machines_heartbeat_counts_while_it_is_renewed(tmp_path: Path, seconds_ago: float, alive: bool) -> None:
    """Its kernel's lock is not seen here; a heartbeat that stopped long ago is taken over."""
    _alive(tmp_path, ELSEWHERE, seconds_ago)
    assert is_held(tmp_path) == alive
    with hold(tmp_path) as held:
        assert (held is None) == alive
    assert (tmp_path / NAME).exists() == alive


def test_the_heartbeat_of_a_killed_process_of_this_machine_says_nothing(tmp_path: Path) -> None:
    """The kernel has released its lock, so the run can be taken up at once."""
    with hold(tmp_path):
        mine = Holder.model_validate_json((tmp_path / NAME).read_bytes())
    _alive(tmp_path, mine.model_copy(update={"token": "before", "process": 2**22 + 1}), seconds_ago=0)
    assert not is_held(tmp_path)
    with hold(tmp_path) as held:
        assert held


def test_clocks_that_disagree_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both times are the file server's: a clock here that is an hour ahead ends no other machine's run."""
    _alive(tmp_path, ELSEWHERE, seconds_ago=10)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    assert is_held(tmp_path)


def test_a_heartbeat_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file's time of change goes on while the run is held."""
    monkeypatch.setattr(holding, "BEAT_SECONDS", 0.01)
    with hold(tmp_path):
        old = time.time() - 1000
        os.utime(tmp_path / NAME, (old, old))
        _until(lambda: (tmp_path / NAME).stat().st_mtime > old + 900)


def test_who_was_away_too_long_learns_that_the_run_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine's heartbeat has replaced its own, and stays when it lets go."""
    monkeypatch.setattr(holding, "BEAT_SECONDS", 0.01)
    with hold(tmp_path) as held:
        assert held
        assert not held.lost
        _alive(tmp_path, ELSEWHERE, seconds_ago=0)
        _until(lambda: held.lost)
    assert Holder.model_validate_json((tmp_path / NAME).read_bytes()) == ELSEWHERE


def test_a_heartbeat_that_is_being_written_counts(tmp_path: Path) -> None:
    """An empty file that is new is another machine's, which has just created it."""
    _alive(tmp_path, ELSEWHERE, seconds_ago=0).write_bytes(b"")
    assert is_held(tmp_path)


def test_of_many_that_want_a_stopped_run_one_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight machines that do not see each other's locks claim it at once."""
    _alive(tmp_path, ELSEWHERE, STALE_SECONDS + 5)
    monkeypatch.setattr(holding, "_kernel", lambda: str(threading.get_ident()))
    gate, got = threading.Barrier(8), list[Holder | None]()

    def claim() -> None:
        gate.wait()
        got.append(holding._claim(tmp_path / NAME))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(holder is not None for holder in got) == 1
    assert [path.name for path in sorted(tmp_path.iterdir())] == [NAME, "lock"]


def _until(holds: object) -> None:
    assert callable(holds)
    limit = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.01)
