"""Worker processes: used again, replaced when they die, gone when the program is."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest

from harness.execution.engines.engine import Lost
from harness.execution.engines.processes import Processes
from tests.harness.execution.engines import work


@pytest.fixture(scope="module")
def two() -> Iterator[Processes]:
    engine = Processes(2, preload=())
    yield engine
    engine.close()


def done(engine: Processes, *futures: "Future[str]") -> list[str]:
    limit = time.monotonic() + 60
    while not all(future.done() for future in futures):
        assert time.monotonic() < limit
        engine.poll(0.1)
    return [future.result() for future in futures]


def test_workers_are_other_processes_and_used_again(two: Processes) -> None:
    """Two pieces of work at once have two workers; the next ones the same two."""
    first = done(two, two.submit(work.who, "a"), two.submit(work.who, "b"))
    second = done(two, two.submit(work.who, "a"), two.submit(work.who, "b"))
    assert first == second
    assert len({os.getpid(), *(int(answer.split()[1]) for answer in first)}) == 3


def test_a_worker_that_is_killed_takes_nothing_else_with_it(two: Processes) -> None:
    """Its own work is lost, said with the likely reason; its neighbour's is done, and its place is taken."""
    killed, kept = two.submit(work.die, ""), two.submit(work.who, "kept")
    assert done(two, kept)[0].startswith("kept ")
    with pytest.raises(Lost, match=r"^a worker process was killed, perhaps for want of memory$"):
        done(two, killed)
    assert [answer.split()[0] for answer in done(two, two.submit(work.who, "a"), two.submit(work.who, "b"))] == [
        "a",
        "b",
    ]


def test_a_worker_that_was_killed_while_idle_is_replaced(two: Processes) -> None:
    """The next work begins in a new one."""
    before = done(two, two.submit(work.who, "a"))[0]
    worker = psutil.Process(int(before.split()[1]))
    worker.kill()
    assert psutil.wait_procs([worker], timeout=10)[0]
    assert done(two, two.submit(work.who, "a"))[0] != before


def test_what_a_function_raises_arrives(two: Processes) -> None:
    """And the worker goes on."""
    with pytest.raises(ValueError, match=r"^what it says$"):
        done(two, two.submit(work.fail, "what it says"))


def said_by(folder: Path, body: str) -> tuple[str, str]:
    """Stdout and stderr of a program of its own that calls `body`."""
    program = (
        "import psutil\n"
        "from harness.execution.engines import processes\n"
        "from tests.harness.execution.engines import work\n"
        "def result(engine, function, payload):\n"
        "    future = engine.submit(function, payload)\n"
        "    while not future.done():\n        engine.poll(1)\n"
        "    return future.result()\n"
        f"if __name__ == '__main__':\n    {body}\n"
    )
    (folder / "program.py").write_text(program)
    root = Path(__file__).parents[4]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, folder / "program.py"]
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60)
    return ended.stdout, ended.stderr


def test_workers_come_from_the_server_that_was_prepared(tmp_path: Path) -> None:
    """It has imported what they need, while the program could do something else; Ctrl-C meanwhile does not end it."""
    body = (
        "processes.prepare(); before = psutil.Process().children(); [each.send_signal(2) for each in before]; "
        "engine = processes.Processes(1); has, parent = result(engine, work.has_imported, 'torch').split(); "
        "print(has, int(parent) in [each.pid for each in before]); engine.close()"
    )
    assert said_by(tmp_path, body) == ("True True\n", "")


def test_idle_workers_give_back_what_they_share(tmp_path: Path) -> None:
    """Killed, they would leave semaphores, and Python would warn of them when the program ends."""
    body = (
        "engine = processes.Processes(1); shared = result(engine, work.share, 'shared'); engine.close(); print(shared)"
    )
    assert said_by(tmp_path, body) == ("shared\n", "")


def test_workers_end_with_a_program_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves it no time to say so."""
    said = tmp_path / "said"
    program = (
        "from harness.execution.engines.processes import Processes\n"
        "from tests.harness.execution.engines import work\n"
        "if __name__ == '__main__':\n"
        "    engine = Processes(1, preload=())\n"
        f"    engine.submit(work.wait_for_ever, {str(said)!r})\n    engine.poll(60)\n"
    )
    (tmp_path / "program.py").write_text(program)
    root = Path(__file__).parents[4]
    running = subprocess.Popen(
        [sys.executable, tmp_path / "program.py"], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )
    limit = time.monotonic() + 60
    while not said.exists() or not said.read_text():
        assert time.monotonic() < limit
        time.sleep(0.05)
    worker = psutil.Process(int(said.read_text()))
    running.kill()
    running.wait()
    gone, alive = psutil.wait_procs([worker], timeout=10)
    assert gone
    assert not alive
