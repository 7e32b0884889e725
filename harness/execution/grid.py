"""Schedule many runs on an engine: submit them, follow their journals, and resubmit those whose worker was lost.

Workers write only journals and checkpoints. This process reads new journal events, shows them and schedules their
delivery. It can be killed at any time; the same command then continues from the journals.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from harness.environment import code_at_start
from harness.execution.engines.engine import Engine, Lost
from harness.execution.engines.task import Answer, Task, make
from harness.execution.following import Follower
from harness.execution.outset import Outset
from harness.execution.patience import Patience, Standing, standing
from harness.execution.progress import Show
from harness.execution.run import ended
from harness.plans.spec import RunSpec
from harness.records import journal
from harness.records.events import Failed, LRFound
from harness.records.holding import is_held
from harness.tracking.sync import Courier
from harness.training.evaluate import ShouldStop
from harness.values import HarnessError, first_line

_POLL_SECONDS = 0.5
"""Interval between reads of the journals."""
_WAIT_SECONDS = 2.0
"""Interval between checks of a run that another process is making, while there is nothing else to do."""
_STOP_SECONDS = 7.0
"""For workers to save their checkpoints, once they are asked to stop."""


@dataclass
class _Flight:
    """Runs that were submitted to the engine together."""

    specs: list[RunSpec]
    future: "Future[str]"
    before: dict[str, Standing]
    """Run key → its progress when it was submitted."""
    began: float
    """When it was submitted, by `time.monotonic`."""


class Grid:
    """Schedules the runs of one plan on an engine."""

    def __init__(self, outset: Outset, courier: Courier, show: Show, stop: ShouldStop):
        self._outset, self._courier, self._show, self._stop = outset, courier, show, stop
        self.tried: dict[str, RunSpec] = {}
        """Run key → specification, for the runs that were tried and not stopped."""
        self.alive = Path()
        """Workers continue as long as this file exists; unused when runs are made in this process."""
        self._waiting = deque[list[RunSpec]]()
        self._flights: list[_Flight] = []
        self._elsewhere: list[RunSpec] = []
        self._journals: dict[str, Follower] = {}
        self._over = set[str]()
        """Keys of runs that failed or cannot be made by this command."""

    def make(
        self,
        groups: Sequence[list[RunSpec]],
        engine: Engine,
        workers: int,
        found: Mapping[str, LRFound],
        allowed: Sequence[str],
    ) -> None:
        """Make what is missing of these runs, each group as one piece of work, until that is done or a stop is asked.

        Raises:
            HarnessError: the engine can make none of them.
        """
        self._engine, self._workers, self._found, self._allowed = engine, workers, found, tuple(allowed)
        self._waiting.extend(groups)
        self._patience = Patience(len(groups))
        while (self._waiting or self._flights or self._elsewhere) and not self._stop():
            while self._waiting and len(self._flights) < self._engine.room and not self._stop():
                self._hand_out(self._waiting.popleft())
            if self._flights:
                self._engine.poll(_POLL_SECONDS)
                self._land()
            self._look_elsewhere()
        self._wind_up()

    def follow(self, spec: RunSpec) -> bool:
        """Show new events of a run's journal and schedule their delivery; returns True if there were any."""
        events = self._journals[spec.key].fresh()
        for event in events:
            self._show.event(spec, event)
            if isinstance(event, Failed):
                self._over.add(spec.key)
        if events:
            self._patience.renew()
            self._courier.tell(self._outset.folder(spec))
        return bool(events)

    def _hand_out(self, specs: Sequence[RunSpec]) -> None:
        missing, there = list[RunSpec](), list[RunSpec]()
        for spec in specs:
            self.tried[spec.key] = spec
            if spec.key in self._outset.made:
                self._show.skip(spec, self._outset.leave(spec))
            elif spec.key in self._outset.unreadable:
                self._give_up([spec], self._outset.unreadable[spec.key])
            else:
                (there if is_held(self._outset.folder(spec)) else missing).append(spec)
        self._leave_to_others(there)
        if not missing:
            return
        self._show.start(missing)
        for spec in missing:
            self._journals[spec.key] = Follower(self._outset.folder(spec))
        before, clock = self._standings(missing), time.monotonic()
        self._flights.append(_Flight(missing, self._engine.submit(make, self._task(missing)), before, clock))

    def _standings(self, specs: Sequence[RunSpec]) -> dict[str, Standing]:
        return {spec.key: standing(self._outset.folder(spec)) for spec in specs}

    def _task(self, specs: Sequence[RunSpec]) -> str:
        plan, root = self._outset.plan, self._outset.root
        return Task(
            root=str(root),
            alive=str(self.alive),
            specs=tuple(specs),
            circumstances=plan.circumstances,
            design=plan.design,
            code=code_at_start(root)["code"],
            workers=self._workers,
            found={spec.key: self._found[spec.key] for spec in specs if spec.key in self._found},
            allowed=self._allowed,
        ).model_dump_json()

    def _land(self) -> None:
        for flight in self._flights:
            for spec in flight.specs:
                self.follow(spec)
        landed = [flight for flight in self._flights if flight.future.done()]
        self._flights = [flight for flight in self._flights if flight not in landed]
        for flight in landed:
            self._after(flight)

    def _after(self, flight: _Flight) -> None:
        """Decide for each run of a finished task whether it has ended, is left to others, or is submitted again."""
        answer, lost = self._answer(flight.future)
        for spec in flight.specs:
            self.follow(spec)  # events since the last read
        left = [spec for spec in flight.specs if not self._has_ended(spec)]
        if answer.of_all:
            raise HarnessError(answer.problem)
        if self._stop():
            self._flights.append(flight)  # so that _wind_up follows it
            return
        if answer.problem and left:
            self._give_up(left, answer.problem)
            return
        there = [spec for spec in left if is_held(self._outset.folder(spec))]
        self._leave_to_others(there)
        self._again([spec for spec in left if spec not in there], flight, lost)

    def _leave_to_others(self, specs: Sequence[RunSpec]) -> None:
        self._show.pause(specs)
        for spec in specs:
            self._journals[spec.key] = Follower(self._outset.folder(spec))
            self._show.say(f"{spec.variant} seed {spec.seed}: another process is making it; waiting for that")
        self._elsewhere += specs

    def _again(self, specs: list[RunSpec], flight: _Flight, lost: str) -> None:
        """Resubmit runs, which resume from their checkpoints, unless several attempts made no progress."""
        now, seconds = self._standings(flight.specs), time.monotonic() - flight.began
        reasons = self._patience.why_not_again(flight.before, now, bool(lost), seconds)
        hopeless = [spec for spec in specs if spec.key in reasons]
        if hopeless:
            self._give_up(hopeless, f"{lost or 'it ended'}; {reasons[hopeless[0].key]}")
        hopeful = [spec for spec in specs if spec not in hopeless]
        self._show.pause(hopeful)
        if hopeful and lost:
            seeds = ", ".join(str(spec.seed) for spec in hopeful)
            self._show.say(f"{hopeful[0].variant} seed {seeds}: {lost}; made again from the last checkpoint")
        if hopeful:
            self._waiting.append(hopeful)

    def _answer(self, future: "Future[str]") -> tuple[Answer, str]:
        try:
            return Answer.model_validate_json(future.result()), ""
        except Lost as error:
            return Answer(), first_line(error)
        except (HarnessError, OSError):
            raise
        except Exception as error:  # for example, a package is missing on the worker's machine
            raise HarnessError(f"{self._engine.name}: {type(error).__name__}: {first_line(error)}") from error

    def _give_up(self, specs: Sequence[RunSpec], reason: str) -> None:
        self._over.update(spec.key for spec in specs)
        self._show.leave(specs, reason)

    def _has_ended(self, spec: RunSpec) -> bool:
        return spec.key in self._over or ended(journal.read(self._outset.folder(spec)))

    def _look_elsewhere(self) -> None:
        """Submit runs that another process was making, once it has stopped making them."""
        for spec in self._elsewhere.copy():
            if not is_held(self._outset.folder(spec)):
                self._elsewhere.remove(spec)
                self.follow(spec)
                if not self._has_ended(spec):
                    self._waiting.append([spec])
        if self._elsewhere and not self._flights and not self._waiting:
            time.sleep(_WAIT_SECONDS)

    def _wind_up(self) -> None:
        """Give active workers time to save checkpoints, and follow their journals meanwhile."""
        if self.alive.name:
            self.alive.unlink(missing_ok=True)
        until = time.monotonic() + _STOP_SECONDS
        while any(not flight.future.done() for flight in self._flights) and time.monotonic() < until:
            self._engine.poll(_POLL_SECONDS)
        for spec in (spec for flight in self._flights for spec in flight.specs):
            self.follow(spec)
            if not self._has_ended(spec):
                self._courier.tell(self._outset.folder(spec), now=True)
                del self.tried[spec.key]
