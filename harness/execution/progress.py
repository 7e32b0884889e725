"""What a person sees while runs are made: a bar with the time left on a terminal, a line an epoch everywhere."""

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from harness.plans.plan import Plan
from harness.plans.spec import RunSpec
from harness.records.events import Diverged, EpochDone, Event, Failed, LRFound
from harness.training.loop import StepDone


class Progress:
    """Counts runs, and the time that they take."""

    def __init__(self, plan: Plan):
        self.runs, self.begun = len(plan.runs), 0
        self.shares: dict[str, float] = {}
        """Run → how much of it is made, of those that train now."""
        self.ended = self.not_made_here = 0.0
        """Runs that are over; and those, or the shares of a resumed one, that this command did not make."""
        self.began = time.monotonic()
        self.bar: tqdm | None = None
        self.title = ""

    def skip(self, spec: RunSpec, since: str = "") -> None:
        """It was made before; `since` tells what has changed."""
        self.begun += 1
        self.ended += 1
        self.not_made_here += 1
        self.say(f"[{self.begun}/{self.runs}] {spec.variant} seed {spec.seed}: already made{since}")

    def start(self, specs: Sequence[RunSpec]) -> None:
        """One run, or several that train as one."""
        self.close()
        self.ended += len(self.shares)
        self.shares = {spec.key: 0.0 for spec in specs}
        first, self.begun = self.begun + 1, self.begun + len(specs)
        numbers = f"{first}" if len(specs) == 1 else f"{first}–{self.begun}"
        self.title = f"[{numbers}/{self.runs}] {specs[0].variant}"

    def leave(self, reason: str) -> None:
        """Those that were to start are not made here."""
        self.not_made_here += len(self.shares)
        self.say(reason)

    def event(self, spec: RunSpec, event: StepDone | Event) -> None:
        line = f"{self.title} seed {spec.seed}"
        match event:
            case StepDone():
                if self.bar is None:
                    self.not_made_here += len(self.shares) * (event.step - 1) / event.total
                self._advance(event.step, event.total)
            case EpochDone():
                self._epoch(line, spec, event)
            case LRFound():
                self.say(f"{line}: LR range test suggests {event.suggestion:.3g} ({event.seconds:.1f} s)")
            case Diverged():
                self.say(f"{line}: diverged, the loss is not finite at step {event.step} ({event.where})")
            case Failed():
                self.say(f"{line}: failed, {event.error}")
            case _:
                pass

    def _advance(self, step: int, total: int) -> None:
        if self.bar is None:
            self.bar = tqdm(total=total, initial=step, desc=self.title, unit="step", leave=False, disable=None)
        self.bar.update(step - self.bar.n)

    def _epoch(self, line: str, spec: RunSpec, done: EpochDone) -> None:
        epochs = spec.recipe.epochs
        self._advance(done.step, done.step * epochs // done.epoch)
        self.shares[spec.key] = done.epoch / epochs
        made = self.ended + sum(self.shares.values())
        each = (time.monotonic() - self.began) / max(made - self.not_made_here, 1 / epochs)  # seconds
        left = each * (self.runs - made)
        seconds = done.train_seconds + done.evaluate_seconds
        scored_on = spec.recipe.data.scored_on.replace("_", " ")
        self.say(
            f"{line}  epoch {done.epoch:>2}/{epochs}  train {done.train.loss:.4f} {done.train.accuracy:.2%}  "
            f"{scored_on} {done.test.loss:.4f} {done.test.accuracy:.2%}  {seconds:.1f} s  "
            f"{done.images_per_second:.0f} images/s  left about {tqdm.format_interval(left)}"
        )

    def say(self, line: str) -> None:
        tqdm.write(line)
        sys.stdout.flush()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
