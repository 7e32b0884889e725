"""Decides when lost work is no longer resubmitted.

A run that kills its workers (for example because it never fits into memory) must not be retried for ever. A run whose
workers are killed from outside must not lose its result.
"""

from dataclasses import dataclass
from pathlib import Path

from harness.records import checkpoint, journal
from harness.records.holding import Holder, last_holder

_ATTEMPTS = 5
"""Attempts in a row without progress after which a run is given up."""
_UNBEGUN = 20
"""Workers in a row that were lost before they began, at least, after which the remaining runs are given up."""
LEAST_SECONDS = 120.0
"""Least total duration of either. On a busy machine, workers that are killed every few seconds can be killed many times
in a row before their first checkpoint."""


@dataclass(frozen=True)
class Standing:
    """A run's progress."""

    events: int
    """Number of events in its journal."""
    step: int
    """Step of its newest checkpoint."""
    holder: Holder | None
    """The process that holds the run, or held it when it was killed."""

    def is_beyond(self, other: "Standing") -> bool:
        return (self.events, self.step) > (other.events, other.step)


def standing(folder: Path) -> Standing:
    """The progress of the run in this folder."""
    return Standing(len(journal.read(folder)), checkpoint.newest_step(folder), last_holder(folder))


@dataclass
class _Row:
    """Failed attempts in a row, and how long they took together."""

    times: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.times, self.seconds = self.times + 1, self.seconds + seconds

    def is_over(self, times: int) -> bool:
        return self.times >= times and self.seconds >= LEAST_SECONDS


class Patience:
    """Counts attempts that made no progress, by run, and workers that were lost before they began any run.

    Args:
        pieces: number of tasks; as many may be lost at once, for example when all jobs in a queue are cancelled.
    """

    def __init__(self, pieces: int):
        self._most_unbegun, self._unbegun = max(_UNBEGUN, 3 * pieces), _Row()
        self._vain: dict[str, _Row] = {}

    def renew(self) -> None:
        """A run made progress, so workers are able to begin."""
        self._unbegun = _Row()

    def why_not_again(
        self, before: dict[str, Standing], now: dict[str, Standing], lost: bool, seconds: float
    ) -> dict[str, str]:
        """The runs of a task that should not be resubmitted: run key → reason.

        Args:
            before: progress of the task's runs when it was submitted, by run key.
            now: their progress now.
            lost: True if the worker ended before the task did.
            seconds: time between the two.
        """
        if lost and now == before:  # no worker held any of these runs, so none of them can be the cause
            self._unbegun.add(seconds)
            reason = f"{self._unbegun.times} workers in a row were lost before they began"
            return dict.fromkeys(now, reason) if self._unbegun.is_over(self._most_unbegun) else {}
        for key, here in now.items():
            if here.is_beyond(before[key]):
                self._vain.pop(key, None)
                self.renew()
            else:
                self._vain.setdefault(key, _Row()).add(seconds)
        over = {key: row.times for key, row in self._vain.items() if key in now and row.is_over(_ATTEMPTS)}
        return {key: f"no progress in {times} attempts in a row" for key, times in over.items()}
