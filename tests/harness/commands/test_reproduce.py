"""A recorded run is made again and compared: equal bit for bit, or what differs and what else changed."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.commands.reproduce import differences, reproduce
from harness.data.load import load
from harness.execution.run import run, run_folder
from harness.execution.stopping import Stop
from harness.plans.experiment import Design
from harness.plans.hyperparameters import SGD, LRFinder
from harness.plans.spec import Circumstances, Data, RunSpec
from harness.records import journal
from harness.records.events import Diverged, EpochDone, Event, Finished, Started
from harness.records.holding import hold
from harness.tracking.delivery import Delivery
from harness.tracking.tracker import Tracker
from harness.training.build import device_data
from harness.values import HarnessError
from tests.harness.runs import write


@dataclass
class Project:
    """A folder with one finished run of real digits."""

    root: Path
    spec: RunSpec

    @property
    def folder(self) -> Path:
        return run_folder(self.root, self.spec)

    def rewrite(self, change: type[Event], **update: object) -> None:
        """Change the last event of a kind in the record."""
        events = journal.read(self.folder)
        last = max(i for i, event in enumerate(events) if isinstance(event, change))
        events[last] = events[last].model_copy(update=update)
        (self.folder / journal.NAME).unlink()
        write(self.folder, events)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reproduce")


@pytest.fixture
def project(tmp_path: Path, made: Path, spec: RunSpec, circumstances: Circumstances, design: Design) -> Project:
    """Made once, with an LR range test, and copied for every test."""
    finder = LRFinder(start_lr=1e-4, end_lr=0.5, iterations=20, diverge_threshold=100.0)
    update = {"data": Data(name="digits", image_size=12), "optimizer": SGD(lr="find"), "lr_finder": finder}
    spec = spec.model_copy(update={"recipe": spec.recipe.model_copy(update=update | {"batch_size": 512})})
    if not (made / "runs").exists():
        data = device_data(load(spec.recipe.data, made), "cpu")
        list(run([spec], circumstances, design, data, made, lambda: False))
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path, spec)


def test_the_same_run_again_is_equal(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Range test, epochs and weights; by its key; nothing of the replay stays, the record is as it was."""
    before = (project.folder / journal.NAME).read_bytes()
    assert reproduce(project.spec.key, project.root, workers=0) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "reproduced: 2 epochs and the weights are equal, bit for bit"
    assert (project.folder / journal.NAME).read_bytes() == before
    assert not list((project.root / "runs" / "reproduced" / "replays").iterdir())


def test_a_run_is_found_in_mlflow(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its MLflow id, when its folder is gone."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = Tracker(project.root)
    Delivery(tracker).deliver(project.folder)
    run_id = tracker.runs(project.spec.experiment)[project.spec.key].id
    shutil.rmtree(project.folder)
    assert reproduce(run_id, project.root, workers=0) == 0
    assert "reproduced: 2 epochs" in capsys.readouterr().out


def test_a_replay_that_ended_otherwise_is_no_equal_one(project: Project) -> None:
    """An epoch less, one more, or a divergence in the place of the end: rows that have no partner count too."""
    whole = journal.read(project.folder)
    *before, last, end = whole
    assert differences(whole, whole) == []
    assert differences(whole, [*before, end]) == ["2 rows of EpochDone → 1"]
    assert differences([*before, end], whole) == ["1 rows of EpochDone → 2"]
    diverged = Diverged(time=0.0, step=1, where="evaluation")
    assert differences(whole, [*before, last, diverged]) == ["1 rows of Finished → 0"]


def test_what_differs_is_named(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A record with another loss in epoch 2, other weights and another torch: each is named, and the replay kept."""
    started, *_, epoch, end = journal.read(project.folder)
    assert isinstance(started, Started)
    assert isinstance(epoch, EpochDone)
    assert isinstance(end, Finished)
    environment = started.environment | {"versions": started.environment["versions"] | {"torch": "1.0"}}
    project.rewrite(Started, environment=environment)
    project.rewrite(EpochDone, lrs=(0.5, *epoch.lrs[1:]))
    project.rewrite(Finished, weights_sha256="0123")
    assert reproduce(project.spec.key, project.root, workers=0) == 1
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("not reproduced: epoch 2: lrs (0.5,")
    assert f"; finished: weights_sha256 0123 → {end.weights_sha256[:57]}" in said
    replay = f"runs/reproduced/replays/{project.spec.key}"
    versions = started.environment["versions"]
    assert said.endswith(f" (other environment: torch 1.0 → {versions['torch']}); the replay is in {replay}")
    assert (project.root / replay / journal.NAME).exists()


def test_a_stopped_replay_goes_on(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the first epoch it ends with the signal's status; the same command finishes it."""

    class Stopping(Stop):
        def __call__(self) -> bool:
            events = journal.read(project.root / "runs" / "reproduced" / "replays" / project.spec.key)
            self.signal = 15 if events and isinstance(events[-1], EpochDone) else None
            return self.signal is not None

    with monkeypatch.context() as patched:
        patched.setattr("harness.commands.reproduce.Stop", Stopping)
        assert reproduce(project.spec.key, project.root, workers=0) == 143
    assert capsys.readouterr().out.splitlines()[-1] == "stopped; the same command goes on from here"
    assert reproduce(project.spec.key, project.root, workers=0) == 0
    out = capsys.readouterr().out
    assert "epoch  2/2" in out
    assert "epoch  1/2" not in out


def test_two_copies_of_the_command_do_not_take_each_other_s_replay_away(project: Project) -> None:
    """The second says who has it, and leaves the first one's folder alone, also while that only compares."""
    replayed = project.root / "runs" / "reproduced"
    write(replayed / "replays" / project.spec.key, journal.read(project.folder))
    with hold(replayed / "held" / project.spec.key) as held:
        assert held
        with pytest.raises(HarnessError, match=rf"^run {project.spec.key} is being replayed by another process; wait"):
            reproduce(project.spec.key, project.root, workers=0)
    assert journal.read(replayed / "replays" / project.spec.key)
    assert reproduce(project.spec.key, project.root, workers=0) == 0


def test_a_replay_that_fails_is_one_line(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its beginning even, as when the model has been renamed since."""

    def fail(*_: object) -> None:
        raise HarnessError("no such model")

    monkeypatch.setattr("harness.execution.attempt.build", fail)
    assert reproduce(project.spec.key, project.root, workers=0) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "not reproduced: the replay failed: no such model"


def test_a_device_that_is_not_here_is_refused(project: Project) -> None:
    """A recorded run names its device, which another machine may lack: said in one line."""
    project.rewrite(Started, circumstances=Circumstances(device="cuda:99", threads=1, step="eager"))
    with pytest.raises(HarnessError, match=r"^`device` 'cuda:99' is not on this machine"):
        reproduce(project.spec.key, project.root, workers=0)


@pytest.mark.parametrize("name", ["../x", "", "a/b", "*"])
def test_a_name_that_cannot_be_one_is_refused(project: Project, name: str) -> None:
    with pytest.raises(HarnessError, match=r"^RUN must be a run's key in runs/ or its id in MLflow; got "):
        reproduce(name, project.root, workers=0)


def test_an_unfinished_run_is_refused(project: Project) -> None:
    events = journal.read(project.folder)
    (project.folder / journal.NAME).unlink()
    write(project.folder, events[:-1])
    with pytest.raises(HarnessError, match=rf"^RUN {project.spec.key} did not finish, so there is nothing to compare"):
        reproduce(project.spec.key, project.root, workers=0)


def test_an_unknown_run_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(HarnessError, match=r"^RUN 0123456789abcdef is neither a run's key in runs/ nor the id of"):
        reproduce("0123456789abcdef", project.root, workers=0)


def test_other_images_are_refused(project: Project) -> None:
    """The checksum of the images is part of the record."""
    started = journal.read(project.folder)[0]
    assert isinstance(started, Started)
    checksum = started.data.checksum
    project.rewrite(Started, data=started.data.model_copy(update={"checksum": "0123"}))
    rule = (
        rf"^`data` 'digits' is not what run {project.spec.key} had: checksum 0123, now {checksum}; restore the images$"
    )
    with pytest.raises(HarnessError, match=rule):
        reproduce(project.spec.key, project.root, workers=0)
