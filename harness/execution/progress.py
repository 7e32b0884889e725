"""Show progress while runs are made: a bar with the time left on terminals, and a line per epoch or run everywhere."""

import sys
import time
from collections.abc import Sequence
from typing import Protocol

from tqdm import tqdm

from harness.plans.plan import Plan
from harness.plans.spec import RunSpec
from harness.records.events import Diverged, EpochDone, Event, Failed, Finished, LRFound, Resumed
from harness.training.loop import StepDone


class Show(Protocol):
    """Displays runs while they are made."""

    def skip(self, spec: RunSpec, since: str = "") -> None:
        """A run was made before; `since` describes what has changed since then."""
        ...

    def start(self, specs: Sequence[RunSpec]) -> None:
        """One run begins, or several stacked runs."""
        ...

    def pause(self, specs: Sequence[RunSpec]) -> None:
        """These runs have stopped and will start again later."""
        ...

    def leave(self, specs: Sequence[RunSpec], reason: str) -> None:
        """These runs are not made by this command."""
        ...

    def event(self, spec: RunSpec, event: StepDone | Event) -> None: ...

    def say(self, line: str) -> None: ...

    def close(self) -> None: ...


class _Counted:
    """Counts a plan's runs and estimates the remaining time."""

    def __init__(self, plan: Plan):
        self.runs = len(plan.runs)
        self.numbers: dict[str, int] = {}
        """Run key → its number in the order of starting."""
        self.shares: dict[str, float] = {}
        """Run key → the share (0..1) of the run that is complete."""
        self.not_made_here = 0.0
        """Number of runs, including fractions of resumed runs, that were complete before this command started."""
        self.began = time.monotonic()

    def title(self, specs: Sequence[RunSpec]) -> str:
        """[2/9] plain"""
        numbers = [self.numbers.setdefault(spec.key, len(self.numbers) + 1) for spec in specs]
        places = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]}–{numbers[-1]}"
        return f"[{places}/{self.runs}] {specs[0].variant}"

    def skip(self, spec: RunSpec, since: str = "") -> None:
        self.not_made_here += 1
        self.shares[spec.key] = 1.0
        self.say(f"{self.title([spec])} seed {spec.seed}: already made{since}")

    def leave(self, specs: Sequence[RunSpec], reason: str) -> None:
        for spec in specs:
            self.not_made_here += 1 - self.shares.get(spec.key, 0.0)
            self.shares[spec.key] = 1.0
        self.say(f"{self.title(specs)} seed {', '.join(str(spec.seed) for spec in specs)}: {reason}")

    def pause(self, specs: Sequence[RunSpec]) -> None:
        """Nothing is printed."""

    def left(self, least: float) -> str:
        """The estimated remaining time, formatted like 03:10.

        Args:
            least: smallest number of runs made so far to assume.
        """
        made = sum(self.shares.values())
        each = (time.monotonic() - self.began) / max(made - self.not_made_here, least)  # seconds
        return tqdm.format_interval(max(0.0, each * (self.runs - made)))

    def ended(self, line: str, spec: RunSpec, event: Event) -> None:
        """Print the events that are shown wherever the run is made."""
        match event:
            case LRFound():
                self.say(f"{line}: LR range test suggests {event.suggestion:.3g} ({event.seconds:.1f} s)")
            case Resumed():
                self.say(f"{line}: goes on from step {event.step} under other circumstances, as allowed")
            case Diverged():
                self.shares[spec.key] = 1.0
                self.say(f"{line}: diverged, the loss is not finite at step {event.step} ({event.where})")
            case Failed():
                self.shares[spec.key] = 1.0
                self.say(f"{line}: failed, {event.error}")
            case _:
                pass

    def say(self, line: str) -> None:
        tqdm.write(line)
        sys.stdout.flush()


class Progress(_Counted):
    """Display of runs made one after the other: a line per epoch, and a bar that advances per step on terminals."""

    def __init__(self, plan: Plan):
        super().__init__(plan)
        self.bar: tqdm | None = None
        self.specs: Sequence[RunSpec] = ()

    def start(self, specs: Sequence[RunSpec]) -> None:
        self.close()
        self.shares |= {spec.key: 1.0 for spec in self.specs} | {spec.key: 0.0 for spec in specs}
        self.specs = specs

    def event(self, spec: RunSpec, event: StepDone | Event) -> None:
        line = f"{self.title(self.specs)} seed {spec.seed}"
        if isinstance(event, StepDone):
            if self.bar is None:
                self.not_made_here += len(self.specs) * (event.step - 1) / event.total
            self._advance(event.step, event.total)
        elif isinstance(event, EpochDone):
            self._epoch(line, spec, event)
        else:
            self.ended(line, spec, event)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _advance(self, step: int, total: int) -> None:
        if self.bar is None:
            title = self.title(self.specs)
            self.bar = tqdm(total=total, initial=step, desc=title, unit="step", leave=False, disable=None)
        self.bar.update(step - self.bar.n)

    def _epoch(self, line: str, spec: RunSpec, done: EpochDone) -> None:
        epochs = spec.recipe.epochs
        self._advance(done.step, done.step * epochs // done.epoch)
        self.shares[spec.key] = done.epoch / epochs
        seconds = done.train_seconds + done.evaluate_seconds
        scored_on = spec.recipe.data.scored_on.replace("_", " ")
        self.say(
            f"{line}  epoch {done.epoch:>2}/{epochs}  train {done.train.loss:.4f} {done.train.accuracy:.2%}  "
            f"{scored_on} {done.test.loss:.4f} {done.test.accuracy:.2%}  {seconds:.1f} s  "
            f"{done.images_per_second:.0f} images/s  left about {self.left(1 / epochs)}"
        )


class Board(_Counted):
    """Display of concurrent runs: a line for each run that ends, and on terminals a line with the state of all runs."""

    def __init__(self, plan: Plan):
        super().__init__(plan)
        self.running: dict[str, RunSpec] = {}
        self.done = self.failed = 0
        self.last: dict[str, EpochDone] = {}
        self.bar = tqdm(total=self.runs, bar_format="{desc} |{bar}|{postfix}", leave=False, disable=None)

    def skip(self, spec: RunSpec, since: str = "") -> None:
        super().skip(spec, since)
        self.done += 1
        self._stand()

    def start(self, specs: Sequence[RunSpec]) -> None:
        for spec in specs:
            self.running[spec.key] = spec
            self.shares.setdefault(spec.key, 0.0)
        self._stand()

    def pause(self, specs: Sequence[RunSpec]) -> None:
        for spec in specs:
            self.running.pop(spec.key, None)
        self._stand()

    def leave(self, specs: Sequence[RunSpec], reason: str) -> None:
        super().leave(specs, reason)
        self._over(specs, failed=True)

    def event(self, spec: RunSpec, event: StepDone | Event) -> None:
        line = f"{self.title([spec])} seed {spec.seed}"
        match event:
            case StepDone():
                pass
            case EpochDone():
                share = event.epoch / spec.recipe.epochs
                if spec.key not in self.last:
                    self.not_made_here += share - 1 / spec.recipe.epochs
                self.last[spec.key], self.shares[spec.key] = event, share
                self._stand()
            case Finished():
                self.shares[spec.key] = 1.0
                self._over([spec], failed=False)
                self.say(
                    f"{line}: {self._result(spec)}{event.train_seconds + event.evaluate_seconds:.1f} s{self._rest()}"
                )
            case _:
                self.ended(line, spec, event)
                if isinstance(event, Failed | Diverged):
                    self._over([spec], failed=True)

    def close(self) -> None:
        self.bar.close()

    def _over(self, specs: Sequence[RunSpec], failed: bool) -> None:
        for spec in specs:
            self.running.pop(spec.key, None)
            self.done, self.failed = self.done + (not failed), self.failed + failed
        self._stand()

    def _result(self, spec: RunSpec) -> str:
        last = self.last.get(spec.key)
        scored_on = spec.recipe.data.scored_on.replace("_", " ")
        return f"{scored_on} {last.test.loss:.4f} {last.test.accuracy:.2%}  " if last else ""

    def _rest(self) -> str:
        """For example "3 of 9 done, 2 running, 1 failed, left about 03:10"."""
        failed = f", {self.failed} failed" if self.failed else ""
        running = f", {len(self.running)} running" if self.running else ""
        left = f", left about {self.left(1.0)}" if self.done + self.failed < self.runs else ""
        return f"  {self.done} of {self.runs} done{running}{failed}{left}"

    def _stand(self) -> None:
        self.bar.n = sum(self.shares.values())
        self.bar.set_description_str(self._rest().strip(), refresh=False)
        said = (f"{spec.variant} s{spec.seed} {self.shares[key]:.0%}" for key, spec in self.running.items())
        self.bar.set_postfix_str(" ".join(said), refresh=True)
