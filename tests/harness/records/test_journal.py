"""Facts and their journal: nothing lost, nothing twice, and a torn or damaged line never believed."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.environment import Machine
from harness.plans.experiment import Experiment
from harness.plans.hyperparameters import SGD
from harness.plans.plan import plan
from harness.plans.spec import Circumstances, Data, Model, Recipe
from harness.records import journal
from harness.records.events import (
    EVENT,
    DataFacts,
    Diverged,
    EpochDone,
    Event,
    Failed,
    Finished,
    LRFound,
    ModelFacts,
    Scores,
    Started,
)
from harness.records.journal import NAME, Journal, parse, read
from harness.values import HarnessError

PLAN = plan(
    Experiment(
        name="e",
        question="Ünïcode \n\u2028 and quotes \"'?",
        base=Recipe(data=Data(name="digits"), model=Model(name="norm_cnn"), optimizer=SGD(lr=0.1), epochs=2),
        variants={"a": {}},
        factor=(),
        baseline="a",
        seeds=(0,),
    ),
    Machine("cpu", True, 2),
)
STARTED = Started(
    time=1.5,
    spec=PLAN.runs[0].model_copy(update={"images": "c"}),
    circumstances=PLAN.circumstances,
    design=PLAN.design,
    data=DataFacts(
        name="digits",
        label="digits",
        checksum="c",
        classes=("0", "1"),
        shape=(3, 32, 32),
        mean=(0.1,),
        std=(0.2,),
        train_images=9,
        validation_images=0,
        test_images=4,
    ),
    model=ModelFacts(parameters=31_216, multiply_adds=7, receptive_field=None),
    steps_per_epoch=1,
    augmentation="none: no transforms",
    environment={"commit": None, "dirty": False, "versions": {"torch": "2.14"}},
)


def _epoch(number: int, time: float = 2.0) -> EpochDone:
    return EpochDone(
        time=time,
        epoch=number,
        step=number,
        train=Scores(loss=0.1 + 0.2, accuracy=1 / 3),
        validation=None,
        test=Scores(loss=5e-324, accuracy=1.0),
        lrs=(1e-7, 0.1),
        train_seconds=0.1,
        evaluate_seconds=0.1,
        images_per_second=90.0,
        system={"system/cpu_utilization_percentage": 99.5},
    )


FOUND = LRFound(time=1.7, lrs=(1e-7, 1e-6), losses=(2.3, 2.2), suggestion=1e-6, seconds=0.5)
FINISHED = Finished(time=9.0, train_seconds=1.0, evaluate_seconds=1.0, peak_memory_bytes=1 << 40, weights_sha256="f")
EVENTS: list[Event] = [STARTED, FOUND, _epoch(1), _epoch(2), FINISHED]
TEXT = b"".join(EVENT.dump_json(event) + b"\n" for event in EVENTS)
ENDS = [index + 1 for index, byte in enumerate(TEXT) if byte == ord("\n")]


def _write(folder: Path, *events: Event) -> Journal:
    written = Journal(folder)
    for event in events:
        written.append(event)
    return written


def test_every_fact_survives_its_line() -> None:
    """One line an event, whatever text it holds; floats come back bit for bit, types as they were."""
    others: list[Event] = [Diverged(time=1.0, step=3, where="train"), Failed(time=1.0, error="disk full")]
    for event in [*EVENTS, *others]:
        line = EVENT.dump_json(event)
        assert b"\n" not in line
        assert repr(EVENT.validate_json(line)) == repr(event)


def test_a_fact_is_never_infinite_nor_of_an_unknown_kind() -> None:
    """A loss that is not finite is a `Diverged`, not a number in the record; an unknown kind is not guessed at."""
    with pytest.raises(ValidationError, match="finite number"):
        Scores(loss=float("nan"), accuracy=0.1)
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        EVENT.validate_json('{"kind": "unheard", "time": 1.0}')


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    """In order, from disk, by another reader; no journal is not an events."""
    assert read(tmp_path / "none") == []
    _write(tmp_path / "new" / "run", *EVENTS)
    assert read(tmp_path / "new" / "run") == EVENTS
    assert (tmp_path / "new" / "run" / NAME).read_bytes() == TEXT


def test_a_fact_is_never_written_twice(tmp_path: Path) -> None:
    """A resumed run repeats its start, its range test and its last epochs: the first of each stays, whatever the clock
    and the machine's load say of the second."""
    _write(tmp_path, STARTED, FOUND, _epoch(1))
    again = STARTED.model_copy(update={"time": 7.0})
    slower = _epoch(2, 7.4).model_copy(update={"train_seconds": 9.0, "images_per_second": 1.0, "system": {}})
    _write(tmp_path, again, FOUND.model_copy(update={"time": 7.1}), _epoch(1, 7.2), _epoch(2, 7.3), slower)
    assert read(tmp_path) == [STARTED, FOUND, _epoch(1), _epoch(2, 7.3)]


@pytest.mark.parametrize(
    "other",
    [
        {"test": Scores(loss=0.25, accuracy=0.5)},
        {"train": Scores(loss=0.25, accuracy=0.5)},
        {"lrs": (0.5,)},
        {"step": 7},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_epoch_with_other_results_begins_a_new_attempt(tmp_path: Path, other: dict[str, Any]) -> None:
    """On a GPU sums may be taken in another order: what follows a crash is another trajectory, and the record must not
    hold epochs of one and weights of the other. The earlier epochs stay, from before the checkpoint; what was recorded
    from there on goes; the start's time says that this is another attempt."""
    broken_off = Failed(time=2.5, error="killed")
    written = _write(tmp_path, STARTED, FOUND, _epoch(1), _epoch(2), broken_off, _epoch(3))
    again = _epoch(2, 7.3).model_copy(update=other)
    written.append(again)
    begun = STARTED.model_copy(update={"time": 7.3})
    assert read(tmp_path) == written.events == [begun, FOUND, _epoch(1), again]
    assert written.started == begun
    assert [done.epoch for done in written.epochs] == [1, 2]
    written.append(_epoch(3, 8.0))
    assert read(tmp_path) == [begun, FOUND, _epoch(1), again, _epoch(3, 8.0)]


@pytest.mark.parametrize("make", ["fifo", "folder"])
def test_what_is_no_file_is_refused_in_one_line(tmp_path: Path, make: str) -> None:
    """Reading a pipe would wait for ever, by `read` as by whoever opens the journal."""
    if make == "fifo":
        os.mkfifo(tmp_path / NAME)
    else:
        (tmp_path / NAME).mkdir()
    for attempt in (read, Journal):
        with pytest.raises(HarnessError, match=rf"^.*{NAME} must be a file; remove it to begin that run anew$"):
            attempt(tmp_path)


def test_every_failure_is_kept(tmp_path: Path) -> None:
    """Two attempts may fail with the same error at different times: both are on record, one told twice is not."""
    first, second = Failed(time=1.0, error="disk full"), Failed(time=2.0, error="disk full")
    _write(tmp_path, STARTED, first, first)
    _write(tmp_path, second, FINISHED)
    assert read(tmp_path) == [STARTED, first, second, FINISHED]


@given(st.integers(0, len(TEXT)))
@settings(max_examples=60, deadline=None)
def test_a_cut_anywhere_loses_only_the_torn_line(cut: int) -> None:
    """Whatever a crash left of the text, the whole lines are believed and no other."""
    assert parse(TEXT[:cut]) == EVENTS[: sum(end <= cut for end in ENDS)]


@given(st.integers(0, len(EVENTS)), st.binary(max_size=40))
@settings(max_examples=60, deadline=None)
def test_nothing_after_garbage_is_believed(whole: int, garbage: bytes) -> None:
    """Bytes that are no event end the reading, and never raise."""
    before = TEXT[: ([0, *ENDS])[whole]]
    assert parse(before + b"{" + garbage + b"\n" + TEXT) == EVENTS[:whole]


@pytest.mark.parametrize("cut", [ENDS[2] - 1, ENDS[2] - 40, ENDS[1] + 1], ids=["newline", "middle", "one byte"])
def test_a_torn_journal_goes_on(tmp_path: Path, cut: int) -> None:
    """Opened after a crash, the torn last line is gone and what was lost can be said again."""
    (tmp_path / NAME).write_bytes(TEXT[:cut])
    reopened = Journal(tmp_path)
    assert read(tmp_path) == EVENTS[:2]
    for event in EVENTS:
        reopened.append(event)
    assert (tmp_path / NAME).read_bytes() == TEXT
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_whole_line_that_cannot_be_read_is_never_thrown_away(tmp_path: Path) -> None:
    """Of a later version, or damaged: what was recorded stays as it is, and the one line says where and what to do."""
    later = TEXT.replace(b'"kind":"epoch"', b'"unheard":1,"kind":"epoch"', 1)
    assert later != TEXT
    (tmp_path / NAME).write_bytes(later)
    number = sum(end <= later.index(b"unheard") for end in ENDS) + 1
    rule = rf"^line {number} of .*{NAME} cannot be read, by this version of the harness at least; go back"
    with pytest.raises(HarnessError, match=rule):
        Journal(tmp_path)
    assert (tmp_path / NAME).read_bytes() == later


def test_a_whole_journal_is_not_rewritten(tmp_path: Path) -> None:
    """Opening does not touch a file that has nothing wrong."""
    _write(tmp_path, *EVENTS)
    before = (tmp_path / NAME).stat()
    Journal(tmp_path)
    after = (tmp_path / NAME).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_journal_can_begin_anew(tmp_path: Path) -> None:
    """For a run whose code or data changed: the old events are gone, on disk too, and may be said again."""
    written = _write(tmp_path, *EVENTS)
    written.rewrite([])
    assert (written.events, written.started, written.epochs, read(tmp_path)) == ([], None, [], [])
    written.append(EVENTS[0])
    assert read(tmp_path) == written.events == EVENTS[:1]


def test_a_fact_is_on_disk_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync is called once an event, on the journal, when its line has left the program."""
    synced: list[bytes] = []

    def fsync(descriptor: int) -> None:
        assert stat.S_ISREG(os.fstat(descriptor).st_mode)
        synced.append((tmp_path / NAME).read_bytes())

    monkeypatch.setattr(journal.os, "fsync", fsync)
    _write(tmp_path, *EVENTS[:2], EVENTS[0])
    assert synced == [TEXT[: ENDS[0]], TEXT[: ENDS[1]]]


def test_a_failing_write_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills half-way through a line: the error is raised, the next event still has a line of its own."""
    written = _write(tmp_path, STARTED)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(journal.os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device"):
            written.append(FOUND)
    assert read(tmp_path) == [STARTED]
    failed = Failed(time=3.0, error="No space left on device")
    written.append(failed)
    written.append(FOUND)
    assert read(tmp_path) == [STARTED, failed, FOUND]


PUBLISHED = sorted((Path(__file__).parents[3] / "reports" / "published").glob("*/data/*/*.jsonl"))
OLD = Path(__file__).with_name("recorded_before_november_2026.jsonl")


def test_journals_recorded_before_november_2026_are_read() -> None:
    """One kept here, and every published one of that time, whole: recipes held the circumstances then, and runs were
    not named by their images."""
    for path in [OLD, *PUBLISHED]:
        text = path.read_bytes()
        if path != OLD and b'"circumstances":' in text.partition(b"\n")[0]:
            continue
        events = parse(text)
        assert len(events) == text.count(b"\n"), path
        started, recorded = events[0], json.loads(text.splitlines()[0])
        assert isinstance(started, Started)
        recipe = recorded["spec"]["recipe"]
        around = {name: recipe.get(name, "auto") for name in Circumstances.model_fields}  # the oldest lack `step`
        assert started.circumstances.model_dump() == around | {"jobs": 1}
        assert started.spec.images == recorded["data"]["checksum"]
        assert started.spec.recipe.model_dump(mode="json").items() >= {
            (name, value) for name, value in recipe.items() if name in ("epochs", "batch_size", "precision")
        }
        assert started.design.variants == tuple(variant["name"] for variant in recorded["design"]["variants"])


def test_an_older_start_is_read_as_a_newer_one() -> None:
    """Seeds trained as one were called fused; one that lacks its spec or its data is not an event."""
    line = json.loads(EVENT.dump_json(STARTED))
    around = line.pop("circumstances")
    line["spec"]["recipe"] |= around | {"step": "fused", "device": "cuda:1"}
    del line["spec"]["images"]
    older = json.dumps(line, separators=(",", ":")).encode() + b"\n"
    (read_back,) = parse(older)
    found = PLAN.circumstances.model_copy(update={"step": "stacked", "device": "cuda:1"})
    assert read_back == STARTED.model_copy(update={"circumstances": found})
    for lost in ("spec", "data"):
        cut = json.dumps({name: value for name, value in line.items() if name != lost}, separators=(",", ":"))
        assert parse(cut.encode() + b"\n") == []


def test_a_line_is_json_that_others_can_read(tmp_path: Path) -> None:
    """Any JSON reader gets kind, time and the whole spec."""
    _write(tmp_path, STARTED)
    line: dict[str, Any] = json.loads((tmp_path / NAME).read_text(encoding="utf-8"))
    assert (line["kind"], line["time"], line["spec"]["recipe"]["epochs"]) == ("started", 1.5, 2)
