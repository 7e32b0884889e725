"""The tracking server killed, never started, losing its answers; runs killed at any time: all is recorded, once.

Each part works on projects of its own with real commands, then `make sync`, then looks into the server's own tables.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.chaos import trials
from tests.chaos.audit import Audit, audit
from tests.chaos.proxy import Proxy
from tests.chaos.server import Server
from tests.chaos.table import Row


@dataclass(frozen=True)
class Counts:
    """How much is tried."""

    server_kills: int
    """While 4 runs at a time go on."""
    epochs: int
    """Of each of these, so that some go on until the server is back."""
    losses: int
    """Runs that lose one answer, each another one."""
    at_all: tuple[int, ...]
    """Besides, for each of these numbers a run that loses this answer at every endpoint: the first, the second."""
    cycles: int
    """Runs killed at a random time and begun again."""


FULL = Counts(server_kills=10, epochs=100, losses=60, at_all=(1, 2), cycles=100)
REDUCED = Counts(server_kills=1, epochs=4, losses=0, at_all=(1,), cycles=3)
_AT_ONCE, _VARIANTS = 4, 200
_NEEDS_SYNC = "deliver it, once the store works, with: make sync"


def rows(counts: Counts, folder: Path) -> Iterator[Row]:
    """Needs two free ports of 127.0.0.1."""
    with Server(folder / "server") as server:
        section = _Section(server, folder)
        yield from section.never_started()
        yield from section.hanging()
        yield from section.lost_answers(counts.losses, counts.at_all)
        yield from section.killed_runs(counts.cycles)
        yield from section.killed_server(counts.server_kills, counts.epochs)


class _Section:
    def __init__(self, server: Server, folder: Path):
        self.server, self.folder = server, folder
        self.random = random.Random(0)
        self.run_seconds = 1.0
        """How long a whole run takes on this machine."""

    def never_started(self) -> Iterator[Row]:
        """A run without a server, then the server, then `sync`."""
        root = self.folder / "never"
        trials.write_experiment(root, "never")
        made = trials.run(root, self.server.uri, "run", "--", "never")
        said = trials.said(root)
        self.server.start()
        synced = trials.run(root, self.server.uri, "sync")
        held = (made, said.count("warning:"), said.count(_NEEDS_SYNC), synced) == (1, 1, 1, 0)
        detail = "" if held else f"run {made}, sync {synced}: {said}"
        yield Row("no server: the run is made, one warning, exit 1; make sync ends with 0", 1, int(held), detail)
        yield from _delivered("no server, then make sync", self._audit([root]))

    def hanging(self) -> Iterator[Row]:
        """A server that is well when it is asked, and takes whatever it is sent without ever answering."""
        root = self.folder / "hanging"
        trials.write_experiment(root, "hanging")
        with Proxy(self.server.uri) as proxy:
            proxy.silent.add("POST runs/log-batch")
            made = trials.run(root, proxy.uri, "run", "--", "hanging", request_seconds=1)
        said = trials.said(root)
        synced = trials.run(root, self.server.uri, "sync")
        held = (made, said.count("warning:"), said.count(_NEEDS_SYNC), synced) == (1, 1, 1, 0)
        detail = "" if held else f"run {made}, sync {synced}: {said}"
        yield Row("hanging server: the run is made, one warning, exit 1; make sync ends with 0", 1, int(held), detail)
        yield from _delivered("hanging server, then make sync", self._audit([root]))

    def lost_answers(self, losses: int, at_all: tuple[int, ...]) -> Iterator[Row]:
        """A clean run shows which calls there are; then each run loses the nth answer at one endpoint or at all."""
        roots, synced, lost = [self.folder / "lost" / "clean"], [], 0
        with Proxy(self.server.uri) as proxy:
            began = time.monotonic()
            synced.append(self._lose(proxy, roots[0], set()))
            self.run_seconds = (time.monotonic() - began) / 2
            calls = dict(proxy.calls)
            plans = [{(endpoint, number) for endpoint in calls} for number in at_all]
            plans += [{(endpoint, n)} for endpoint, times in calls.items() for n in range(1, times + 1)][:losses]
            for number, plan in enumerate(plans):
                roots.append(self.folder / "lost" / f"lost{number}")
                synced.append(self._lose(proxy, roots[-1], plan))
                lost += len(proxy.losses)
        detail = f"{lost} answers of {len(calls)} endpoints: {', '.join(sorted(calls))}"
        yield Row("make sync ends with 0 after a run that lost answers", len(synced), synced.count(0), detail)
        yield from _delivered("answers lost, then make sync", self._audit(roots))

    def _lose(self, proxy: Proxy, root: Path, plan: set[tuple[str, int]]) -> int:
        proxy.forget()
        proxy.lost |= plan
        trials.write_experiment(root, root.name)
        trials.run(root, proxy.uri, "run", "--", root.name)
        return trials.run(root, self.server.uri, "sync")

    def killed_runs(self, cycles: int) -> Iterator[Row]:
        """Kill a run at a random time, a few times over, then let it finish; then the next one."""
        root, left, exits = self.folder / "cycles", cycles, []
        trials.write_experiment(root, "cycles", _VARIANTS)
        while left:
            kills = min(left, self.random.randint(2, 6))
            left -= kills
            command = ("run", f"--variants=v{len(exits)}", "--", "cycles")
            for _ in range(kills):
                process = trials.start(root, self.server.uri, *command)
                process.join(self.random.uniform(0.05, self.run_seconds))
                process.kill()
                process.join()
            exits.append(trials.run(root, self.server.uri, *command))
        yield Row("a run killed and begun again ends with 0", len(exits), exits.count(0), f"{cycles} kills")
        yield from _delivered("runs killed and begun again", self._audit([root]))

    def killed_server(self, kills: int, epochs: int) -> Iterator[Row]:
        """Four runs at a time, one after the other, until the server was killed and started again so often."""
        root, variants, ended = self.folder / "killed", iter(range(_VARIANTS)), []
        trials.write_experiment(root, "killed", _VARIANTS, epochs)
        running: list[ForkServerProcess] = []
        for _ in range(kills):
            until = time.monotonic() + self.random.uniform(1, 2) * self.run_seconds
            while len(running) < _AT_ONCE or time.monotonic() < until:
                ended += [process.exitcode for process in running if process.exitcode is not None]
                running = [process for process in running if process.exitcode is None]
                if len(running) < _AT_ONCE:
                    command = ("run", f"--variants=v{next(variants)}", "--", "killed")
                    running.append(trials.start(root, self.server.uri, *command))
                time.sleep(0.05)
            self.server.kill()
            time.sleep(self.random.uniform(0, 1))
            self.server.start()
        ended += [trials.status(process) for process in running]
        synced = trials.run(root, self.server.uri, "sync")
        made = sum(status in (0, 1) for status in ended)
        detail = f"{kills} kills; {ended.count(1)} runs told to sync"
        yield Row("runs go on while the server is killed and started again", len(ended), made, detail)
        yield Row("make sync ends with 0 once the server is back", 1, int(synced == 0))
        yield from _delivered("server killed under runs, then make sync", self._audit([root]))

    def _audit(self, roots: list[Path]) -> Audit:
        return audit(roots, self.server.database, self.server.artifacts)


def _delivered(what: str, found: Audit) -> Iterator[Row]:
    yield Row(f"{what}: every metric row recorded once", found.rows, found.rows_held, found.detail)
    yield Row(f"{what}: every key one complete run, no other left", found.runs, found.runs_held, found.detail)
