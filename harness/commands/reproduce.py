"""`make reproduce`: make a recorded run again and compare every epoch's numbers and the weights, bit for bit."""

import shutil
from pathlib import Path
from typing import Any

from harness.data.load import load
from harness.environment import differences as environment_differences
from harness.execution.progress import Progress
from harness.execution.run import ended, run
from harness.execution.stopping import Stop
from harness.plans.plan import Plan
from harness.records import journal
from harness.records.events import MEASURED, EpochDone, Event, Failed, Finished, LRFound, Started
from harness.records.holding import hold
from harness.tracking.store import TrackingError
from harness.tracking.tracker import Tracker
from harness.training.build import device_data
from harness.training.device import detect
from harness.training.evaluate import Interrupted
from harness.values import HarnessError

_LONGEST = 255
"""Characters of a file's name."""


def recorded(name: str, root: Path) -> list[Event]:
    """The events of a finished run, by its key in runs/ or its id in MLflow.

    Raises:
        HarnessError: there is no such run, or it did not finish.
    """
    if len(name) > _LONGEST or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise HarnessError(f"RUN must be a run's key in runs/ or its id in MLflow; got {name!r}")
    local = next(iter((root / "runs").glob(f"*/{name}")), None)
    events = journal.read(local) if local else _in_mlflow(name, root)
    if not events or not isinstance(events[0], Started) or not any(isinstance(event, Finished) for event in events):
        raise HarnessError(f"RUN {name} did not finish, so there is nothing to compare with; finish it first")
    return events


def _in_mlflow(run_id: str, root: Path) -> list[Event]:
    try:
        return Tracker(root).journal_of(run_id)
    except TrackingError as error:
        raise HarnessError(
            f"RUN {run_id} is neither a run's key in runs/ nor the id of one that MLflow can give ({error}); the ids "
            "are in `make ui`, the keys in a report's table of runs"
        ) from error


def replay(events: list[Event], root: Path, workers: int, stop: Stop) -> list[Event]:
    """Make the run again in runs/reproduced/; an interrupted replay is resumed.

    Raises:
        HarnessError: the images differ from the run's, or this machine lacks its device.
        Interrupted: `stop` returned True; a checkpoint is saved.
    """
    started = events[0]
    assert isinstance(started, Started)
    spec = started.spec
    circumstances = started.circumstances
    detect(circumstances.device)
    dataset = load(spec.recipe.data, root)
    if dataset.checksum != started.data.checksum:
        raise HarnessError(
            f"`data` {dataset.label!r} is not what run {spec.key} had: checksum {started.data.checksum}, now "
            f"{dataset.checksum}; restore the images"
        )
    folder = replay_folder(root, spec.key)
    if ended(journal.read(folder)):
        shutil.rmtree(folder)
    data = device_data(dataset, circumstances.device)
    show = Progress(Plan(started.design, (spec,), circumstances))
    show.start([spec])
    with stop.listening():
        try:
            for _, event in run([spec], circumstances, started.design, data, root, stop, workers, folder):
                show.event(spec, event)
        finally:
            show.close()
    return journal.read(folder)


def replay_folder(root: Path, key: str) -> Path:
    """The folder of a replay."""
    return root / "runs" / "reproduced" / "replays" / key


def differences(before: list[Event], now: list[Event]) -> list[str]:
    """Short descriptions of the differences between a run and its replay; empty if they are equal bit for bit."""
    found: list[str] = []
    began = next((event for event in before if isinstance(event, Started)), None)
    searched = began is None or began.spec.recipe.optimizer.lr == "find"  # else one range test served all runs
    for kind in (*([LRFound] if searched else []), EpochDone, Finished):
        pairs = zip(_rows(before, kind), _rows(now, kind), strict=False)
        for old, new in pairs:
            changed = [field for field in old if old[field] != new[field]]
            if changed:
                where = f"epoch {old['epoch']}" if kind is EpochDone else old["kind"]
                said = ", ".join(f"{field} {_short(old[field])} → {_short(new[field])}" for field in changed)
                found.append(f"{where}: {said}")
                break
        if len(_rows(before, kind)) != len(_rows(now, kind)):
            found.append(f"{len(_rows(before, kind))} rows of {kind.__name__} → {len(_rows(now, kind))}")
    return found


def elsewhere(before: list[Event], now: list[Event]) -> list[str]:
    """Differences between the two environments: machine, code and package versions."""
    old, new = (next(event.environment for event in events if isinstance(event, Started)) for events in (before, now))
    return [f"{name} {was} → {current}" for name, (was, current) in environment_differences(old, new).items()]


def _rows(events: list[Event], kind: type[Event]) -> list[dict[str, Any]]:
    return [event.model_dump(exclude={*MEASURED, "artifacts"}) for event in events if isinstance(event, kind)]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def reproduce(name: str, root: Path, workers: int) -> int:
    """Replay and compare, and print the result; returns the exit status: 0 equal, 1 not, 130 or 143 stopped.

    Raises:
        HarnessError: see `recorded` and `replay`; also when another process replays this run.
    """
    before = recorded(name, root)
    started = before[0]
    assert isinstance(started, Started)
    key = started.spec.key
    with hold(root / "runs" / "reproduced" / "held" / key) as held:  # during the comparison too, unlike `run`
        if held is None:
            raise HarnessError(f"run {key} is being replayed by another process; wait for it, then run again")
        return _compared(before, started, root, workers)


def _compared(before: list[Event], started: Started, root: Path, workers: int) -> int:
    stop = Stop()
    try:
        now = replay(before, root, workers, stop)
    except Interrupted:
        assert stop.signal is not None
        print("stopped; the same command goes on from here")
        return 128 + stop.signal
    if now and isinstance(now[-1], Failed):
        print(f"not reproduced: the replay failed: {now[-1].error}")
        return 1
    folder, found, other = replay_folder(root, started.spec.key), differences(before, now), elsewhere(before, now)
    if not found:
        shutil.rmtree(folder)
        epochs = sum(isinstance(event, EpochDone) for event in now)
        print(f"reproduced: {epochs} epochs and the weights are equal, bit for bit" + _but(other))
        return 0
    print(f"not reproduced: {'; '.join(found)}{_but(other)}; the replay is in {folder.relative_to(root)}")
    if started.circumstances.step == "stacked":
        print("it was stacked with other seeds, which share dropout's random numbers and affect rounding")
    if started.circumstances.device.startswith("cuda"):
        print("on CUDA the order of some sums, such as in the backward pass of max pooling, may vary")
    return 1


def _but(other: list[str]) -> str:
    return f" (other environment: {', '.join(other)})" if other else ""
