"""When events go out: what died is said, a store that fails costs one warning and no event, `sync` brings the rest."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from mlflow.tracking import MlflowClient

import harness.tracking.delivery
import harness.tracking.sync
from harness.plans.experiment import Design
from harness.records.events import Event
from harness.tracking.delivery import Delivered, Delivery
from harness.tracking.store import TrackingError
from harness.tracking.sync import Courier
from harness.tracking.tracker import PlannedRun, Summary, Tracker
from tests.harness.runs import begun, write


@pytest.fixture
def project(tracker: Tracker, tmp_path: Path) -> Tracker:
    """The store, used from a project's folder of the test's own."""
    return Tracker(tmp_path, tracker.store.uri)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def courier(project: Tracker, tmp_path: Path, said: list[str]) -> Courier:
    return Courier(project, tmp_path, said.append)


@contextmanager
def silent_server() -> Iterator[tuple[str, list[None]]]:
    """Takes calls and never answers; its address, and an entry for each call."""
    calls: list[None] = []
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                kept.append(listening.accept()[0])
                calls.append(None)

        thread = threading.Thread(target=lambda: _until_closed(accept), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", calls
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    for caller in kept:
        caller.close()


def _until_closed(accept: object) -> None:
    try:
        accept()  # pyright: ignore[reportCallIssue]
    except OSError:
        return


def run_folder(root: Path, events: list[Event], seed: int, until: int) -> Path:
    """The folder of a run with another seed, in which the first `until` events have happened."""
    started = begun(events)
    spec = started.spec.model_copy(update={"seed": seed})
    folder = root / "runs" / spec.experiment / spec.key
    write(folder, [started.model_copy(update={"spec": spec}), *events[1:until]])
    return folder


def asked(design: Design, events: list[Event], time: float = 1.0) -> Summary:
    own = design.model_copy(update={"experiment": begun(events).spec.experiment})
    return Summary(design=own, runs=(PlannedRun(key="key", variant="plain", seed=0),), asked=time)


def states(tracker: Tracker, events: list[Event]) -> dict[int, tuple[str, str]]:
    """Seed → our tag, MLflow's status."""
    experiment_id = tracker.experiment_id(begun(events).spec.experiment)
    found = tracker.client.search_runs([experiment_id], "tags.kind = 'run'")
    return {int(run.data.tags["seed"]): (run.data.tags["state"], run.info.status) for run in found}


def test_runs_whose_process_died_are_marked_when_any_experiment_begins(
    courier: Courier, project: Tracker, named: list[Event], design: Design, tmp_path: Path
) -> None:
    """RUNNING in MLflow, nobody at it: interrupted. One that somebody is at, one that has ended and one without a
    folder here, of another machine, are left alone."""
    died, alive, ended = (run_folder(tmp_path, named, seed, until) for seed, until in ((0, 3), (1, 3), (2, 5)))
    elsewhere = run_folder(tmp_path / "other machine", named, 3, 3)
    held = [FileLock(folder / "lock") for folder in (died, alive, elsewhere)]
    for lock in held:
        lock.acquire()
    for folder in (died, alive, ended, elsewhere):
        Delivery(project).deliver(folder)
    going = ("running", "RUNNING")
    assert states(project, named) == {0: going, 1: going, 2: ("finished", "FINISHED"), 3: going}
    held[0].release()
    courier.begin(Summary(design=design.model_copy(update={"experiment": "another"}), runs=(), asked=1.0))
    expected = {0: ("interrupted", "KILLED"), 1: going, 2: ("finished", "FINISHED"), 3: going}
    assert states(project, named) == expected
    with held[0]:
        courier.tell(died, now=True)
        assert states(project, named)[0] == going


def test_sync_brings_what_is_missing_and_says_what_changed(
    courier: Courier, project: Tracker, named: list[Event], design: Design, tmp_path: Path, said: list[str]
) -> None:
    """A line for every run that changed, then the counts; again, nothing changes. What was asked goes along."""
    whole, cut = run_folder(tmp_path, named, 0, 5), run_folder(tmp_path, named, 1, 3)
    run_folder(tmp_path, named, 2, 2)
    Delivery(project).deliver(cut)
    write(cut, named[3:4])
    (whole.parent / "plan.json").write_text(asked(design, named).model_dump_json())
    assert courier.sync() == 0
    assert said[:2] == [f"{whole.name}: 5 events delivered, finished", f"{cut.name}: 1 events delivered, interrupted"]
    assert said[-1] == "3 runs here: 3 brought up to date"
    assert project.summary(begun(named).spec.experiment) == asked(design, named)
    said.clear()
    assert Courier(project, tmp_path, said.append).sync() == 0
    assert said == ["3 runs here: 0 brought up to date"]


def test_sync_goes_on_after_a_run_that_cannot_be_delivered(
    courier: Courier,
    project: Tracker,
    named: list[Event],
    tmp_path: Path,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plan that was torn by hand and a run that another process delivers cost the others nothing."""
    monkeypatch.setattr(harness.tracking.delivery, "_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(harness.tracking.sync, "_PAUSE_SECONDS", 0.1)
    folders = [run_folder(tmp_path, named, seed, 5) for seed in (0, 1)]
    (folders[0].parent / "plan.json").write_text("{")
    with FileLock(folders[0] / "delivered.lock"):
        assert courier.sync() == 2
    assert said[0] == f"{folders[1].name}: 5 events delivered, finished"
    assert said[1].startswith("2 runs here: 1 brought up to date, 2 not delivered: MLflow cannot be ")


def test_sync_names_every_journal_that_was_changed_and_tries_it_once(
    courier: Courier,
    project: Tracker,
    named: list[Event],
    tmp_path: Path,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beside a run that is delivered; the others' lines say what to do, and the last how many there are."""
    folders = [run_folder(tmp_path, named, seed, 5) for seed in (0, 1, 2)]
    for folder in folders[:2]:
        Delivery(project).deliver(folder)
        path = folder / "journal.jsonl"
        path.write_bytes(path.read_bytes().replace(b'"loss":0.75', b'"loss":0.25'))
    tried, deliver = list[Path](), Delivery.deliver

    def count(self: Delivery, folder: Path, take_back: bool = True) -> Delivered | None:
        tried.append(folder)
        return deliver(self, folder, take_back)

    monkeypatch.setattr(Delivery, "deliver", count)
    assert courier.sync() == 2
    assert tried == folders
    assert said[0] == f"{folders[2].name}: 5 events delivered, finished"
    assert [line.partition(" was changed after")[0] for line in said[1:3]] == [
        str(folder / "journal.jsonl") for folder in folders[:2]
    ]
    assert said[3:] == ["3 runs here: 1 brought up to date, 2 not delivered"]
    said.clear()
    assert courier.finish(folders) == []
    assert len(said) == 2


def test_a_store_that_fails_costs_one_warning_and_no_fact(
    project: Tracker, named: list[Event], design: Design, tmp_path: Path, said: list[str]
) -> None:
    """A server that is not there: everything is kept, `finish` names it, and it is all delivered from another store
    address once that answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    courier = Courier(Tracker(tmp_path, nowhere), tmp_path, said.append)
    courier.begin(asked(design, named))
    folder = run_folder(tmp_path, named, 0, 3)
    courier.tell(folder)
    write(folder, named[3:])
    courier.tell(folder, now=True)
    assert courier.finish([folder]) == [folder.parent, folder]
    (warning,) = said
    assert warning.startswith(f"warning: the tracking server '{nowhere}' does not answer (")
    assert warning.endswith("); events are kept in runs/ and delivered later")
    later = Courier(project, tmp_path, said.append)
    assert later.finish([folder]) == []
    assert states(project, named) == {0: ("finished", "FINISHED")}


def test_a_server_that_hangs_is_not_asked_again_soon(
    named: list[Event], design: Design, tmp_path: Path, said: list[str]
) -> None:
    """After an attempt comes a pause of many times its length, whatever news there are; a run's stop asks all the
    same."""
    with silent_server() as (uri, calls):
        courier = Courier(Tracker(tmp_path, uri), tmp_path, said.append)
        courier.begin(asked(design, named))
        assert len(calls) == 1
        folder = run_folder(tmp_path, named, 0, 5)
        for _ in range(5):
            courier.tell(folder)
        assert len(calls) == 1
        courier.tell(folder, now=True)
        assert len(calls) == 2
    assert len(said) == 1


def test_many_that_wait_do_not_hold_up_a_run(
    courier: Courier, project: Tracker, named: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest news go first; what takes too long waits for the next time."""
    monkeypatch.setattr(harness.tracking.sync, "_AT_ONCE_SECONDS", 0.0)
    for seed in range(3):
        courier._waiting[run_folder(tmp_path, named, seed, 3)] = None
    for expected in ([2], [1, 2], [0, 1, 2]):
        courier._carry()
        assert sorted(states(project, named)) == expected


def test_a_run_that_fails_for_a_while_is_tried_again_at_the_end(
    courier: Courier, named: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One lost answer among many does not end in an error; a run that cannot be delivered stops no other."""
    folders = [run_folder(tmp_path, named, seed, 5) for seed in (0, 1)]
    set_tag, fails = MlflowClient.set_tag, [True, True, False]

    def fail(self: MlflowClient, *arguments: object) -> None:
        if fails and fails.pop(0):
            raise TrackingError("an answer was lost")
        set_tag(self, *arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(MlflowClient, "set_tag", fail)
    assert courier.finish(folders) == []


def test_plans_are_ordered_by_a_counter(
    project: Tracker, named: list[Event], design: Design, tmp_path: Path, said: list[str]
) -> None:
    """A plan made with the clock an hour ahead does not win over one made after it; one that only the store has seen,
    one that has a time of old for its number, and one that cannot be read are all counted from."""

    def ask(seeds: int, root: Path = tmp_path) -> Summary:
        runs = tuple(PlannedRun(key=f"key{seed}", variant="plain", seed=seed) for seed in range(seeds))
        courier = Courier(Tracker(root, project.store.uri), root, said.append)
        courier.begin(asked(design, named, time=time.time() + 3600).model_copy(update={"runs": runs}))
        assert courier.is_latest(asked(design, named))
        assert courier.finish([]) == []
        return project.summary(begun(named).spec.experiment)

    path = tmp_path / "runs" / begun(named).spec.experiment / "plan.json"
    assert [(len(ask(seeds).runs), ask(seeds).asked) for seeds in (3, 1)] == [(3, 2.0), (1, 4.0)]
    elsewhere = tmp_path / "another machine"
    elsewhere.mkdir()
    assert (len(ask(2, elsewhere).runs), ask(2, elsewhere).asked) == (2, 6.0)
    assert ask(3).asked == 7.0
    old = time.time() + 0.5
    path.write_text(asked(design, named, time=old).model_dump_json())
    assert (len(ask(2).runs), ask(2).asked) == (2, int(old) + 2)
    path.write_text("{")
    assert ask(1).asked == int(old) + 3
    assert said == []


def test_two_commands_that_begin_at_once_are_told_apart(
    project: Tracker, named: list[Event], design: Design, tmp_path: Path
) -> None:
    """The first one's plan is not the latest any more, whatever the clock says; unless the second asks the same."""
    one, two, three = (Courier(project, tmp_path, lambda line: None) for _ in range(3))
    first, other = asked(design, named, time=2.0), asked(design, named, time=1.0)
    other = other.model_copy(update={"runs": (*other.runs, PlannedRun(key="more", variant="plain", seed=1))})
    one.begin(first)
    two.begin(other)
    assert (one.is_latest(first), two.is_latest(other)) == (False, True)
    three.begin(other)
    assert (one.is_latest(first), two.is_latest(other), three.is_latest(other)) == (False, True, True)


def test_sync_leaves_what_was_deleted_and_says_so(
    courier: Courier, project: Tracker, named: list[Event], design: Design, tmp_path: Path, said: list[str]
) -> None:
    """A run deleted in MLflow's pages is no failure and does not come back; made again, it does."""
    folders = [run_folder(tmp_path, named, seed, 5) for seed in (0, 1)]
    assert courier.sync() == 0
    deleted = next(run for run in project.listing(begun(named).spec.experiment) if run.tags["seed"] == "1")
    project.client.delete_run(deleted.id)
    said.clear()
    assert Courier(project, tmp_path, said.append).sync() == 0
    assert said == [
        f"1 deleted in MLflow and not restored (make run does): {folders[1].name}",
        "2 runs here: 0 brought up to date",
    ]
    assert sorted(states(project, named)) == [0]
    assert Courier(project, tmp_path, said.append).finish(folders) == []
    assert sorted(states(project, named)) == [0, 1]
