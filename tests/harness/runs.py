"""Makes and stops runs for the tests: a class, so that a test reads as what happens to a run."""

import hashlib
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.data.load import Dataset
from harness.execution.run import run, run_folder
from harness.plans.experiment import Design
from harness.plans.spec import Circumstances, RunSpec
from harness.records import journal
from harness.records.events import DataFacts, EpochDone, Event, Finished, LRFound, ModelFacts, Scores, Started
from harness.training.build import DeviceData, device_data
from harness.training.evaluate import Interrupted, ShouldStop


def write(folder: Path, events: list[Event]) -> None:
    """Append these events to the folder's journal, but those that it has."""
    kept = journal.Journal(folder)
    for event in events:
        kept.append(event)


def begun(events: list[Event]) -> Started:
    """The first event."""
    assert isinstance(events[0], Started)
    return events[0]


def made_up(spec: RunSpec, circumstances: Circumstances, design: Design) -> list[Event]:
    """What a finished run of `spec` leaves, numbers made up: a range test and two epochs of five steps."""
    started = Started(
        time=1000.25,
        spec=spec,
        circumstances=circumstances,
        design=design,
        data=DataFacts(
            name="tiny",
            label="tiny",
            checksum="0123",
            classes=("cat", "dog", "owl"),
            shape=(3, 12, 12),
            mean=(0.4, 0.4, 0.4),
            std=(0.2, 0.2, 0.2),
            train_images=72,
            validation_images=0,
            test_images=24,
        ),
        model=ModelFacts(parameters=31_000, multiply_adds=1_000_000, receptive_field=56),
        steps_per_epoch=5,
        augmentation="none: no transforms",
        environment={"commit": "abc", "code": "c0de", "device": "cpu", "versions": {"torch": "2.14.1"}},
    )
    found = LRFound(time=1001.0, lrs=(0.001, 0.01, 0.1), losses=(1.2, 0.9, 1.5), suggestion=0.01, seconds=1.0)
    epochs = [
        EpochDone(
            time=1001.5 + epoch,
            epoch=epoch,
            step=5 * epoch,
            train=Scores(loss=1.0 / epoch, accuracy=0.4 * epoch),
            validation=None,
            test=Scores(loss=1.5 / epoch, accuracy=0.375 * epoch),
            lrs=tuple(round(0.1 * epoch + 0.01 * step, 2) for step in range(5)),
            train_seconds=2.0,
            evaluate_seconds=0.5,
            images_per_second=36.0,
            system={"system/cpu_utilization_percentage": 50.0},
        )
        for epoch in (1, 2)
    ]
    end = Finished(time=1010.0, train_seconds=4.0, evaluate_seconds=1.0, peak_memory_bytes=10**9, weights_sha256="ab")
    return [started, found, *epochs, end]


class Runs:
    """The attempts at one run in one project's folder."""

    def __init__(self, root: Path, spec: RunSpec, circumstances: Circumstances, design: Design, data: DeviceData):
        self.root, self.spec, self.design, self.data = root, spec, design, data
        self.circumstances = circumstances
        self.allowed: tuple[str, ...] = ()

    def changed(self, root: str, **changes: Any) -> "Runs":
        """The same with other fields of the recipe or other circumstances, in another folder."""
        around = {name: value for name, value in changes.items() if name in Circumstances.model_fields}
        recipe = {name: value for name, value in changes.items() if name not in around}
        spec = self.spec.model_copy(update={"recipe": self.spec.recipe.model_copy(update=recipe)})
        made = self.elsewhere(root, spec=spec)
        made.circumstances = self.circumstances.model_copy(update=around)
        return made

    def elsewhere(self, root: str, spec: RunSpec | None = None, dataset: Dataset | None = None) -> "Runs":
        data = device_data(dataset, "cpu") if dataset else self.data
        (self.root / root).mkdir()
        return Runs(self.root / root, spec or self.spec, self.circumstances, self.design, data)

    def of(self, dataset: Dataset) -> "Runs":
        """The same run, in the same folder, of other images."""
        return Runs(self.root, self.spec, self.circumstances, self.design, device_data(dataset, "cpu"))

    @property
    def folder(self) -> Path:
        return run_folder(self.root, self.spec)

    def events(self, stop_after: int | None = None) -> Generator[Any, None, None]:
        """One attempt; `stop_after` asks it to stop once so many steps or events of this attempt are done."""
        seen: list[Any] = []
        for _, event in self.run(stop=lambda: len(seen) == stop_after):
            seen.append(event)
            yield event

    def run(self, stop: ShouldStop) -> Iterator[tuple[RunSpec, Any]]:
        return run([self.spec], self.circumstances, self.design, self.data, self.root, stop, allowed=self.allowed)

    def finish(self) -> Finished:
        *_, last = self.events()
        assert isinstance(last, Finished), last
        return last

    def interrupt(self, stop_after: int) -> None:
        with pytest.raises(Interrupted):
            list(self.events(stop_after))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The journal, but for times and what the machine was doing."""
        aside = {"time", "seconds", "train_seconds", "evaluate_seconds", "images_per_second", "system"}
        return [event.model_dump(exclude=aside | {"peak_memory_bytes"}) for event in journal.read(self.folder)]


def write_finished(root: Path, events: list[Event], files: Mapping[str, bytes]) -> Path:
    """The folder of a finished run that left these artifacts, as its end lists them."""
    end = events[-1]
    assert isinstance(end, Finished)
    listed = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items()}
    made = run_folder(root, begun(events).spec)
    write(made, [*events[:-1], end.model_copy(update={"artifacts": listed})])
    for name, content in files.items():
        (made / "artifacts" / name).parent.mkdir(parents=True, exist_ok=True)
        (made / "artifacts" / name).write_bytes(content)
    return made
