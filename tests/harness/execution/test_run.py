"""One run: a function of its spec and data alone, whatever interrupts it, and an event whichever way it ends."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import harness.environment
import harness.execution.attempt
import harness.execution.run
from harness.data.load import Dataset
from harness.execution.run import ended, run, run_folder
from harness.plans.hyperparameters import SGD, Adam, LRFinder, OneCycle, Step
from harness.plans.spec import Model, Transform
from harness.records import checkpoint, holding, journal
from harness.records.events import Diverged, EpochDone, Event, Failed, Finished, Started
from harness.records.holding import hold, is_held
from harness.training.build import device_data
from harness.training.device import detect
from harness.training.evaluate import Interrupted, predict
from harness.values import HarnessError
from tests.harness.runs import Runs, begun

CROP = (
    Transform(name="Pad", padding=2),
    Transform(name="RandomCrop", height="image_height", width="image_width"),
    Transform(name="HorizontalFlip", p=0.5),
)


RECIPES: dict[str, dict[str, Any]] = {
    "adam_onecycle": {"optimizer": Adam(lr=0.01), "schedule": OneCycle(), "augmentation": CROP},
    "sgd_step": {"optimizer": SGD(lr=0.02, nesterov=True), "schedule": Step(step_epochs=1), "clip_norm": 1.0},
    "library": {"optimizer": SGD(lr=0.02), "augmentation": CROP, "augment_backend": "albumentations"},
    "found": {
        "optimizer": SGD(lr="find"),
        "lr_finder": LRFinder(start_lr=1e-4, end_lr=0.5, iterations=20, diverge_threshold=100.0),
    },
    "tuned": {
        "optimizer": SGD(lr=0.02),
        "ema_decay": 0.9,
        "test_time_flip": True,
        "model": Model(name="resnet", whitening=True, head_scale=0.125),
    },
}


@pytest.mark.parametrize("name", RECIPES)
def test_resumed_runs_end_as_if_never_stopped(runs: Runs, name: str) -> None:
    """Stopped at steps 1, 3 (mid-epoch), 5 (epoch's end), 6 and 9, and after every single step (the larger and slower
    recipes at step 3, or 3 and 5, alone): the same weights, journal rows and random state as uninterrupted, with
    dropout, through the real checkpoints and journal.
    """
    whole = runs.changed("whole", **RECIPES[name])
    expected = whole.finish()
    random = torch.get_rng_state()
    before_first_step = 2 if name == "found" else 1
    plans = [(step, [before_first_step + step]) for step in (1, 3, 5, 6, 9)] + [(9, [1] + [2] * 9)]
    chosen = {"adam_onecycle": plans, "sgd_step": plans, "tuned": plans[1:3]}.get(name, plans[1:2])
    for place, (done, stops) in enumerate(chosen):
        again = runs.changed(str(place), **RECIPES[name])
        for stop_after in stops:
            again.interrupt(stop_after)
            torch.manual_seed(123)  # a new process would not have the old one's random state
        *events, last = again.events()
        assert [event.step for event in events if hasattr(event, "step")] == list(range(done + 1, 11)), place
        assert last.weights_sha256 == expected.weights_sha256, place
        assert again.rows == whole.rows, place
        assert torch.equal(torch.get_rng_state(), random), place
        assert not checkpoint.exists(again.folder), place


def test_an_interrupted_evaluation_is_made_up_for(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while the first epoch is evaluated, and while the last one's predictions are recorded, it goes on there:
    no step is made twice, no row is lost, and it ends as if never stopped.
    """
    expected = runs.elsewhere("whole")
    end = expected.finish()
    stopped = runs.elsewhere("stopped")
    for before, steps in ((0, [1, 2, 3, 4]), (2, [5, 6, 7, 8, 9, 10])):
        with monkeypatch.context() as patched:
            predictions = itertools.count()

            def stopping(*arguments: Any, first: int = before, counted: Iterator[int] = predictions) -> torch.Tensor:
                if next(counted) == first:
                    raise Interrupted
                return predict(*arguments)

            patched.setattr(harness.execution.attempt, "predict", stopping)
            events = []
            with pytest.raises(Interrupted):
                events.extend(stopped.events())
        assert [event.step for event in events if hasattr(event, "step")] == steps
    last = stopped.finish()
    assert last.weights_sha256 == end.weights_sha256
    assert stopped.rows == expected.rows


def test_the_average_is_what_is_evaluated_and_kept(runs: Runs) -> None:
    """The average changes no step of training, but what every epoch's evaluation and the weights' hash are made of."""
    plain, averaged = (runs.changed(root, ema_decay=decay) for root, decay in (("plain", None), ("averaged", 0.5)))
    ends = plain.finish(), averaged.finish()
    assert ends[0].weights_sha256 != ends[1].weights_sha256
    trained, tested = (
        [[row[split] for row in made.rows if row["kind"] == "epoch"] for made in (plain, averaged)]
        for split in ("train", "test")
    )
    assert trained[0] == trained[1]
    assert all(one != other for one, other in zip(*tested, strict=True))


def test_a_range_test_stops_when_asked(runs: Runs) -> None:
    """Asked at its fourth iteration it ends there, with nothing recorded; begun again it suggests the same."""
    whole, stopped = (runs.changed(root, **RECIPES["found"]) for root in ("whole", "stopped"))
    whole.finish()
    asked = itertools.count(1)
    with pytest.raises(Interrupted):
        list(stopped.run(lambda: next(asked) == 5))
    assert next(asked) == 6
    assert [event.kind for event in journal.read(stopped.folder)] == ["started"]
    stopped.finish()
    assert stopped.rows == whole.rows


def test_a_compiled_run_is_the_same_run(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 steps through torch.compile, in bf16 where the processor has it, give the plain fp32 run's losses: the first
    epoch's within 0.5%, every one within 3%, as rounding adds up (2.06% with torch 2.11). Stopped in the middle it ends
    as if never stopped. All whole batches go through what was compiled; its short last batches are eager.
    """
    compile_, seen = torch.compile, list[int]()

    def watched(model: nn.Module, **options: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        compiled = compile_(model, **options)

        def forward(images: torch.Tensor) -> torch.Tensor:
            seen.append(len(images))
            return compiled(images)

        return forward

    monkeypatch.setattr(torch, "compile", watched)
    changes = {"optimizer": SGD(lr=0.001), "epochs": 4}
    own = "bf16" if detect("cpu").bf16 else "fp32"
    plain, whole, stopped = (
        runs.changed(root, step=step, precision=precision, **changes)
        for root, step, precision in (("a", "eager", "fp32"), ("b", "compiled", own), ("c", "compiled", own))
    )
    plain.finish()
    assert seen == []
    end = whole.finish()
    assert seen == [16] * 4 * 4  # of 72 images an epoch
    losses = [[row["train"]["loss"] for row in made.rows if row["kind"] == "epoch"] for made in (plain, whole)]
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.005)
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    stopped.interrupt(8)
    assert stopped.finish().weights_sha256 == end.weights_sha256
    assert stopped.rows == whole.rows


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("step", ["eager", "compiled", "stacked"])
def test_on_cuda_a_stopped_run_ends_as_if_never_stopped(runs: Runs, dataset: Dataset, step: str) -> None:
    """With all that a step can hold: bf16, dropout, an average; the same weights and journal rows, bit for bit."""
    on_device = device_data(dataset, "cuda")
    changes = {"device": "cuda", "precision": "bf16", "step": step, "ema_decay": 0.9, "test_time_flip": True}
    whole, stopped = (runs.changed(root, **changes) for root in ("whole", "stopped"))
    whole.data = stopped.data = on_device
    end = whole.finish()
    stopped.interrupt(8)
    assert stopped.finish().weights_sha256 == end.weights_sha256
    assert stopped.rows == whole.rows


def test_a_crash_goes_on_from_the_last_timed_checkpoint(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed without a word after step 8, with a checkpoint after every step, it goes on with step 9."""
    expected = runs.elsewhere("whole").finish()
    monkeypatch.setattr(harness.execution.run, "CHECKPOINT_SECONDS", -1.0)
    killed = runs.elsewhere("killed")
    events = killed.events()
    next(event for event in events if getattr(event, "step", 0) == 9)  # saved before it is asked for step 9
    events.close()
    went_on = list(killed.events())
    assert [getattr(event, "step", None) for event in went_on] == [None, 9, 10, None]
    assert went_on[-1].weights_sha256 == expected.weights_sha256


def test_a_crash_without_checkpoint_starts_over(runs: Runs) -> None:
    """Nothing saved: all steps again, and the epochs that the journal has are not written twice."""
    expected = runs.elsewhere("whole")
    expected.finish()
    killed = runs.elsewhere("killed")
    events = killed.events()
    next(event for event in events if isinstance(event, EpochDone))
    events.close()
    assert killed.finish()
    assert killed.rows == expected.rows


@pytest.mark.parametrize(
    ("batch_size", "step", "where"), [(16, 2, "train"), (72, 1, "evaluation")], ids=["train", "evaluation"]
)
def test_a_diverged_run_is_over_and_never_finished(
    runs: Runs, batch_size: int, step: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a rate of 1e30 the first step ruins the weights: the next loss shows it, or else the evaluation."""
    monkeypatch.setattr(harness.execution.run, "CHECKPOINT_SECONDS", -1.0)
    wild = runs.changed("wild", optimizer=SGD(lr=1e30, momentum=0.0), batch_size=batch_size, epochs=2)
    *_, last = wild.events()
    assert isinstance(last, Diverged)
    assert (last.step, last.where) == (step, where)
    events = journal.read(wild.folder)
    assert [event.kind for event in events] == ["started", "diverged"]
    assert ended(events)
    assert not checkpoint.exists(wild.folder)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("boom\n  at line 3"), "RuntimeError: boom"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (HarnessError("`x` must be y"), "`x` must be y"),
        (MemoryError(), "out of memory: MemoryError; batch_size is 16, 8 should fit: batch_size=8"),
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB\nMore"),
            "out of memory: CUDA out of memory. Tried to allocate 3 GiB; batch_size is 16, 8 should fit: batch_size=8",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_is_one_line_and_can_be_made_good(
    runs: Runs, error: Exception, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is recorded as failed, not as ended; the next attempt goes on in the same journal and finishes."""

    def fail(*_: Any) -> Iterator[Event]:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(harness.execution.run, "train", fail)
        assert [event.kind for event in runs.events()] == ["started", "failed"]
    events = journal.read(runs.folder)
    assert isinstance(events[-1], Failed)
    assert events[-1].error == line
    assert not ended(events)
    runs.finish()
    assert [row["kind"] for row in runs.rows] == ["started", "failed", "epoch", "epoch", "finished"]


def test_a_failure_before_the_beginning_is_no_part_of_the_run(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded alone, as all there is to say; once the run begins its journal begins with that, as reports need."""
    with monkeypatch.context() as patched:
        patched.setattr(harness.execution.attempt, "environment", None)
        assert [event.kind for event in runs.events()] == ["failed"]
    assert [row["kind"] for row in runs.rows] == ["failed"]
    runs.finish()
    assert [row["kind"] for row in runs.rows] == ["started", "epoch", "epoch", "finished"]


def test_one_process_at_a_run(runs: Runs) -> None:
    """A second attempt while the first is on makes nothing and disturbs nothing."""
    events = runs.events()
    next(events)
    assert list(runs.events()) == []
    assert isinstance(list(events)[-1], Finished)


def test_of_a_stack_only_what_is_free_and_readable_is_made(runs: Runs) -> None:
    """Another process holds seed 0, a line of seed 1's journal is not ours: seed 2 is made, then the line is told."""
    specs = [runs.spec.model_copy(update={"seed": seed}) for seed in range(3)]
    folders = [run_folder(runs.root, spec) for spec in specs]
    folders[1].mkdir(parents=True)
    (folders[1] / journal.NAME).write_text('{"kind": "later"}\n')
    around = runs.circumstances.model_copy(update={"step": "stacked"})
    made = run(specs, around, runs.design, runs.data, runs.root, lambda: False)
    with hold(folders[0]), pytest.raises(HarnessError, match=r"^line 1 of .* cannot be read, by this version"):
        list(made)
    assert journal.read(folders[0]) == []
    assert journal.read(folders[2])[-1].kind == "finished"


def test_a_run_that_another_machine_took_over_is_let_go(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was suspended for minutes writes no further event."""
    monkeypatch.setattr(holding, "BEAT_SECONDS", 0.01)
    events = runs.events()
    next(events)
    path = runs.folder / holding.NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kernel": "another", "token": "theirs"}))
    time.sleep(0.5)  # many beats
    with pytest.raises(Interrupted):
        list(events)
    assert [event.kind for event in journal.read(runs.folder)] == ["started"]
    assert is_held(runs.folder)


def test_a_run_that_ended_while_it_was_waited_for_is_not_made_again(runs: Runs) -> None:
    """Two commands may both have seen it missing: the second finds it made, and says and writes nothing."""
    runs.finish()
    before = (runs.folder / journal.NAME).read_bytes()
    assert list(runs.events()) == []
    assert (runs.folder / journal.NAME).read_bytes() == before


def test_the_validation_split_is_scored_apart(runs: Runs, dataset: Dataset) -> None:
    """With a hold-out each epoch has its scores: here the training images, so not the test split's."""
    held_out = runs.elsewhere("held", dataset=replace(dataset, validation=dataset.train))
    epochs = [event for event in held_out.events() if isinstance(event, EpochDone)]
    assert len(epochs) == 2
    for done in epochs:
        assert done.validation is not None
        assert done.validation.loss != done.test.loss
    started = journal.read(held_out.folder)[0]
    assert isinstance(started, Started)
    assert started.data.validation_images == 72


def test_a_prediction_that_is_edited_afterwards_stays_in_the_record_as_it_was(runs: Runs) -> None:
    """What was expected when a run began is in its first event; a run that has ended is not told anything else."""
    runs.design = runs.design.model_copy(update={"expected": {"group": "worse"}})
    runs.finish()
    runs.design = runs.design.model_copy(update={"expected": {"group": "better"}})
    assert list(runs.events()) == []
    assert begun(journal.read(runs.folder)).design.expected == {"group": "worse"}
