"""The state of a plan's runs when a command starts: which were made before, their folders, unreadable journals."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.data.load import Dataset
from harness.execution.changes import changed_since, environment, in_words, recorded_as
from harness.execution.made import Made, find_made, made_before, repair
from harness.execution.run import run_folder
from harness.plans.differences import within
from harness.plans.plan import Plan
from harness.plans.spec import Data, RunSpec
from harness.records import checkpoint, holding, journal
from harness.records.blocks import confounded
from harness.records.events import Finished
from harness.tracking.tracker import Tracker
from harness.training.build import DeviceData, device_data
from harness.values import HarnessError, SpecError


class Outset:
    """The state of a plan's runs before the first new one starts."""

    def __init__(
        self,
        plan: Plan,
        datasets: Mapping[Data, Dataset],
        root: Path,
        say: Callable[[str], None],
        tracker: Tracker | None = None,
    ):
        self.plan, self.root, self._datasets = plan, root, datasets
        self.made: dict[str, Made] = {}
        self.unreadable: dict[str, str] = {}
        """Run key → the reason why its journal cannot be read."""
        self._there: dict[Data, DeviceData] = {}
        for spec in plan.runs:
            try:
                made = find_made(root, spec)
                if made is None:
                    journal.read_whole(run_folder(root, spec))
            except HarnessError as error:
                self.unreadable[spec.key] = str(error)
                continue
            if made and made.problem:
                made = repair(made, tracker, say)
            if made:
                self.made[spec.key] = made
        self.before = made_before(root, plan.declared, plan.runs, say, tracker)
        """Runs of the same experiment that are not part of this request but appear in its report."""

    def folder(self, spec: RunSpec) -> Path:
        return self.made[spec.key].folder if spec.key in self.made else run_folder(self.root, spec)

    def device_data(self, data: Data) -> DeviceData:
        """A data set on the runs' device; it is copied there once."""
        if data not in self._there:
            self._there[data] = device_data(self._datasets[data], self.plan.circumstances.device)
        return self._there[data]

    def changed(self, made: Made) -> dict[str, tuple[object, object]]:
        """What changed since this finished run was recorded, except the images, which are part of its key."""
        began, around = made.started, self.plan.circumstances
        return changed_since(began, began.data.checksum, around, environment(self.root, began.spec.recipe, around))

    def leave(self, spec: RunSpec) -> str:
        """Describe what changed since a run was made, to be appended to "already made".

        Checkpoints and heartbeat are removed, if the run was killed before it removed them itself.
        """
        folder = self.folder(spec)
        checkpoint.remove(folder)
        holding.remove_left(folder)
        changed = in_words(self.changed(self.made[spec.key]))
        again = f"; changed since then: {changed}; to make it again, remove {folder.relative_to(self.root)}"
        return again if changed else ""

    def finished(self, spec: RunSpec) -> bool:
        """True if the run has a result now."""
        if spec.key in self.unreadable:
            return False
        last = journal.read(self.folder(spec))[-1:]
        return bool(last) and isinstance(last[0], Finished)

    def refuse_incomparable(self, allowed: Sequence[str]) -> None:
        """Check that the existing runs could be compared with the missing ones.

        Args:
            allowed: dotted fields in which they may differ.

        Raises:
            SpecError: they could not.
        """
        missing = [spec for spec in self.plan.runs if spec.key not in self.made]
        made = [*self.made.values(), *self.before] if missing else []
        names = [{recorded_as(name): pair for name, pair in self.changed(each).items()} for each in made]
        mixed = confounded([(each.started.spec, pairs) for each, pairs in zip(made, names, strict=True)], missing)
        for each, pairs in zip(made, names, strict=True):
            changed = {name: pair for name, pair in pairs.items() if name in mixed and not within(name, allowed)}
            if changed:
                raise SpecError(
                    f"{len(made)} runs of {self.plan.design.experiment} are made already, and a report would refuse to "
                    f"compare them with new ones ({in_words(changed)}): undo that change, remove "
                    f"{each.folder.parent.relative_to(self.root)} to make all runs again, or allow the difference with "
                    f'ALLOW="{" ".join(changed)}"'
                )
