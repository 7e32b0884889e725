"""Damaged checkpoints: rejected every time, and training goes on from the one before.

A run is stopped in its middle, so that two checkpoints lie there. Then, again and again in a copy of it, the newer one
is damaged and the run taken up: the step that it takes next says from where it went on.
"""

import random
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data.load import Dataset
from harness.execution.check import check
from harness.execution.run import run, run_folder
from harness.plans import catalog
from harness.plans.plan import plan
from harness.plans.spec import RunSpec
from harness.training.build import DeviceData, device_data
from harness.training.device import detect
from harness.training.loop import StepDone
from tests.chaos.attempts import Launcher
from tests.chaos.ending import differences, ending
from tests.chaos.table import Row
from tests.chaos.tiny import Projects

STOPPED_AT = "a step is done, nobody knows"
"""Where the run is stopped: epoch 2's second step, of six."""
PAGE = 4096


@dataclass(frozen=True)
class Counts:
    damaged: int
    finished: int
    """How many more go on to the end, which is compared."""
    both: int
    """The same with both checkpoints damaged."""


FULL = Counts(damaged=500, finished=25, both=6)
REDUCED = Counts(damaged=6, finished=1, both=0)


def rows(counts: Counts, folder: Path) -> Iterator[Row]:
    """See `Counts`."""
    with Launcher() as launch:
        yield from tried(counts, Projects(folder, launch))


def tried(counts: Counts, projects: Projects) -> Iterator[Row]:
    """All of it, in these projects."""
    trials = Trials(projects)
    yield trials.damaged(counts.damaged)
    yield trials.finished(counts.finished)
    if counts.both:
        yield trials.finished(counts.both, both=True)


class Trials:
    """A run that was stopped, and copies of it whose checkpoints are damaged."""

    def __init__(self, projects: Projects):
        self.projects, self.random = projects, random.Random(7)
        _, self.expected = projects.whole_run()
        self.stopped = projects.new("stopped")
        assert projects.launch(self.stopped, point=STOPPED_AT, signal=signal.SIGTERM).status == 143
        planned, datasets = check(plan(catalog.load("chaos", self.stopped), detect("cpu")), self.stopped)
        eager = planned.circumstances.model_copy(update={"step": "eager"})
        self.plan, self.spec = replace(planned, circumstances=eager), planned.runs[0]
        self.dataset: Dataset = datasets[self.spec.recipe.data]

    def damaged(self, times: int) -> Row:
        """The newer one is set aside, and the next step is the one after the older one's."""
        data = device_data(self.dataset, "cpu")
        wrong: list[str] = []
        for trial in range(times):
            root = self.stopped.with_name(f"damaged {trial}")
            shutil.copytree(run_folder(self.stopped, self.spec), run_folder(root, self.spec))
            older, newer = _checkpoints(root, self.spec)
            kind = self._damage(newer, older, trial)
            step = self._next_step(root, data)
            set_aside = newer.with_suffix(".damaged").exists() and not newer.exists()
            if step != _step(older) + 1 or not set_aside:
                wrong.append(f"{kind} (trial {trial}): went on with step {step}")
            shutil.rmtree(root)
        promise = "the newest checkpoint is damaged: it is set aside, the next step follows the one before"
        return Row(promise, times, times - len(wrong), "; ".join([", ".join(DAMAGES), *wrong]))

    def _next_step(self, root: Path, data: DeviceData) -> int:
        """The first step of one more attempt, which goes no further."""
        events = run([self.spec], self.plan.circumstances, self.plan.design, data, root, stop=lambda: False)
        return next(event.step for _, event in events if isinstance(event, StepDone))

    def finished(self, times: int, both: bool = False) -> Row:
        """With the newer one damaged, or both of them, the run still ends as one that nobody disturbed."""
        wrong: list[str] = []
        for trial in range(times):
            project = self.projects.copy(self.stopped, f"finished_{both}_{trial}")
            older, newer = _checkpoints(project, self.spec)
            kind = self._damage(newer, older, trial)
            if both:
                self._damage(older, newer, trial + 1)
            found = differences(self.expected, ending(project)) if self.projects.finish(project) else ["not finished"]
            if found:
                wrong.append(f"{kind} (trial {trial}): {', '.join(found)}")
            shutil.rmtree(project)
        which = "both checkpoints are" if both else "the newest checkpoint is"
        return Row(f"{which} damaged: the same end", times, times - len(wrong), "; ".join(wrong))

    def _damage(self, path: Path, other: Path, trial: int) -> str:
        """Damage a file in the trial's way; returns what was done."""
        kind = list(DAMAGES)[trial % len(DAMAGES)]
        whole = path.read_bytes()
        damaged = DAMAGES[kind](whole, other.read_bytes(), self.random)
        assert damaged != whole
        path.write_bytes(damaged)
        return kind


def _checkpoints(root: Path, spec: RunSpec) -> tuple[Path, Path]:
    older, newer = sorted(run_folder(root, spec).glob("step-*.ckpt"))
    return older, newer


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _flipped(whole: bytes, _: bytes, randoms: random.Random) -> bytes:
    bit = randoms.randrange(8 * len(whole))
    return whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :]


def _page_lost(whole: bytes, _: bytes, randoms: random.Random) -> bytes:
    """A page that a file system never wrote reads as zeros."""
    pages = [at for at in range(0, len(whole), PAGE) if any(whole[at : at + PAGE])]
    at = randoms.choice(pages)
    return whole[:at] + bytes(len(whole[at : at + PAGE])) + whole[at + PAGE :]


DAMAGES: dict[str, Callable[[bytes, bytes, random.Random], bytes]] = {
    "one bit flipped": _flipped,
    "cut short": lambda whole, _, randoms: whole[: randoms.randrange(1, len(whole))],
    "empty": lambda *_: b"",
    "bytes appended": lambda whole, _, randoms: whole + randoms.randbytes(randoms.randint(1, 2 * PAGE)),
    "another one's checksum": lambda whole, other, _: other[:32] + whole[32:],
    "a page of zeros": _page_lost,
}
