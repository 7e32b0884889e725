"""Runs that are killed or stopped, at named points, at random times, twice over: do they end as if nothing had been?

The end is compared bit for bit with a run that nobody disturbed: weights, optimiser, random state, the journal's rows,
artifacts, and what MLflow's own tables and files hold; see `ending`. Wall-clock fields are left out.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.records import journal
from tests.chaos.attempts import PROJECT, Attempt, Launcher
from tests.chaos.ending import differences, ending
from tests.chaos.points import FRESH_STORE, POINTS
from tests.chaos.table import Row
from tests.chaos.tiny import EXPERIMENT, Projects

STOPPED_SECONDS = 10.0
STATUSES = {signal.SIGKILL: {-9}, signal.SIGTERM: {143, -15}, signal.SIGINT: {130}}
"""How a process may end that was sent a signal; -15 while nothing is begun yet: shells show 143 for it too."""
INTERVALS = (-1.0, 0.1, 60.0)
"""Seconds between checkpoints, in turn, when the time is random: after every step, now and then, never."""


@dataclass(frozen=True)
class Counts:
    points: Sequence[str]
    signals: Sequence[signal.Signals]
    random_kills: int
    double_kills: int
    commands: int
    """Of the real command, stopped by each of SIGTERM and SIGINT."""


FULL = Counts(tuple(POINTS), tuple(STATUSES), random_kills=200, double_kills=40, commands=2)
REDUCED = Counts(
    points=("a checkpoint is half written",),
    signals=(signal.SIGKILL, signal.SIGTERM),
    random_kills=1,
    double_kills=0,
    commands=0,
)


def rows(counts: Counts, folder: Path) -> Iterator[Row]:
    """See `Counts`."""
    with Launcher() as launch:
        yield from tried(counts, Projects(folder, launch))
    if counts.commands:
        yield real_commands(counts.commands, folder)


def tried(counts: Counts, projects: Projects) -> Iterator[Row]:
    """All but the real command."""
    trials = Trials(projects)
    for number in counts.signals:
        yield trials.at_points(counts.points, number)
    if counts.random_kills:
        yield trials.at_random_times(counts.random_kills)
    if counts.double_kills:
        yield trials.twice(counts.points, counts.double_kills)


class Trials:
    """Disturbed runs, each compared with one that nobody disturbed."""

    def __init__(self, projects: Projects):
        self.projects, self.launch = projects, projects.launch
        self.random = random.Random(5)
        self.undisturbed, self.expected = projects.whole_run()

    def at_points(self, points: Sequence[str], number: signal.Signals) -> Row:
        """The process signals itself at each point; a signal that can be handled must stop it in time."""
        wrong = [f"{point}: {said}" for point in points if (said := self._at_point(point, number))]
        promise = f"{number.name} at {len(points)} named points, started again: the same end"
        if number != signal.SIGKILL:
            promise += f"; stopped within {STOPPED_SECONDS:.0f} s with status {128 + number}"
        return Row(promise, len(points), len(points) - len(wrong), "; ".join(wrong or points))

    def _at_point(self, point: str, number: signal.Signals) -> str:
        project = self.projects.new(f"{number.name} {point}", store=point != FRESH_STORE)
        first = self.launch(project, point=point, signal=number)
        if first.stopping_seconds is None:
            return "was not reached"
        if said := _stopping(first, number):
            return said
        return self._end(project)

    def at_random_times(self, kills: int) -> Row:
        """SIGKILL from outside, until so many have struck a run that was not over."""
        wrong: list[str] = []
        struck: Counter[str] = Counter()
        for trial in range(100 * kills):
            if struck.total() == kills:
                break
            project = self.projects.new(f"random {trial}")
            if not self._kill_somewhere(project, INTERVALS[trial % 3]):
                shutil.rmtree(project)
                continue
            events = [event for path in project.glob("runs/*/*") for event in journal.read(path)]
            struck[f"after {events[-1].kind}" if events else "before the first event"] += 1
            if said := self._end(project):
                wrong.append(f"trial {trial}: {said}")
        spread = ", ".join(f"{count} {where}" for where, count in struck.most_common())
        promise = "SIGKILL at a random time, started again: the same end"
        return Row(promise, kills, struck.total() - len(wrong), "; ".join([spread, *wrong]))

    def _kill_somewhere(self, project: Path, checkpoint_seconds: float) -> bool:
        """Whether it was still running when the kill came."""
        when = self.random.uniform(0.01, self.undisturbed.seconds)
        killed = self.launch(project, kill_after=when, checkpoint_seconds=checkpoint_seconds)
        return killed.status == -9

    def twice(self, points: Sequence[str], kills: int) -> Row:
        """Killed at a named point, started again, killed again at any time, started again."""
        wrong: list[str] = []
        usable = [point for point in points if point != FRESH_STORE]
        for trial in range(kills):
            point = usable[trial % len(usable)]
            project = self.projects.new(f"double {trial}")
            self.launch(project, point=point, signal=signal.SIGKILL)
            while not self._kill_somewhere(project, -1.0):
                shutil.rmtree(project)  # it was through before the second kill came
                project = self.projects.new(f"double {trial}")
                self.launch(project, point=point, signal=signal.SIGKILL)
            if said := self._end(project):
                wrong.append(f"{point}, then at a random time: {said}")
        return Row("SIGKILL, started again, SIGKILL again: the same end", kills, kills - len(wrong), "; ".join(wrong))

    def _end(self, project: Path) -> str:
        """Start it again; what is then not as it should be, or nothing."""
        if not self.projects.finish(project):
            return "it does not finish: " + " ".join((project / "stderr").read_text().splitlines()[-1:])
        found = differences(self.expected, ending(project))
        if not found:
            shutil.rmtree(project)
        return f"not equal: {', '.join(found)}" if found else ""


def _stopping(attempt: Attempt, number: signal.Signals) -> str:
    assert attempt.stopping_seconds is not None
    if attempt.status not in STATUSES[number]:
        return f"status {attempt.status}"
    if "Traceback" in attempt.stderr:
        return "a traceback"
    slow = attempt.stopping_seconds > STOPPED_SECONDS
    return f"stopped after {attempt.stopping_seconds:.1f} s" if slow else ""


def real_commands(times: int, folder: Path) -> Row:
    """`python -m harness run` itself, a new process each time, stopped somewhere in its training."""
    wrong: list[str] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        for time_ in range(times):
            project = folder / f"command {number.name} {time_}"
            for name in ("harness", "models"):
                shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
            (project / "experiments").mkdir()
            (project / "experiments" / "chaos.py").write_text(EXPERIMENT)
            if said := _real_command(project, number, epoch=1 + time_):
                wrong.append(f"{number.name}: {said}")
    promise = f"SIGTERM and SIGINT to `make run`'s own command: 143 and 130 within {STOPPED_SECONDS:.0f} s; it goes on"
    return Row(promise, 2 * times, 2 * times - len(wrong), "; ".join(wrong))


def _real_command(project: Path, number: signal.Signals, epoch: int) -> str:
    command = [sys.executable, "-m", "harness", "run", "chaos", "--set=epochs=40"]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {"PYTHONPYCACHEPREFIX": str(project / "compiled"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        next(line for line in first.stdout if re.search(rf"epoch +{epoch}/40", line))
        first.send_signal(number)
        clock = time.monotonic()
        first.communicate()
        seconds = time.monotonic() - clock
    if first.returncode != 128 + number or seconds > STOPPED_SECONDS:
        return f"status {first.returncode} after {seconds:.1f} s"
    second = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if second.returncode or f"epoch {epoch:>2}/40" in second.stdout or "epoch 40/40" not in second.stdout:
        return f"the second command did not go on (status {second.returncode})"
    return ""
