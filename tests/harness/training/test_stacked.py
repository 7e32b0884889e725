"""Runs that train as one: each is its solo run but for rounding, saved, resumed and ended on its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

import harness.execution.attempt
from harness.augmentation.source import source, together
from harness.data.load import Dataset
from harness.execution.run import Event, ended, run_folder, run_together
from harness.plans.hyperparameters import SGD, Adam, OneCycle
from harness.plans.spec import Model, Recipe, RunSpec, Transform
from harness.records import checkpoint, journal
from harness.records.events import Diverged, Fact, Failed
from harness.training.build import DeviceData, Parts, build, build_model, new_state
from harness.training.evaluate import Interrupted, Normaliser
from harness.training.loop import State, StepDone, take_step
from harness.training.memory import batch_that_fits
from harness.training.stacked import Stack
from tests.harness.runs import Runs

CROP = (
    Transform(name="Pad", padding=2),
    Transform(name="RandomCrop", height="image_height", width="image_width"),
    Transform(name="HorizontalFlip", p=0.5),
)
DRY = Model(name="norm_cnn", head="gap", dropout=0.0)
RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": SGD(lr=0.005, nesterov=True, weight_decay=1e-3), "clip_norm": 0.5, "model": DRY},
    "adam": {"optimizer": Adam(lr=0.001), "schedule": OneCycle(), "augmentation": CROP, "model": DRY},
    "group": {
        "optimizer": SGD(lr=0.005),
        "augmentation": CROP,
        "augment_backend": "albumentations",
        "model": DRY.model_copy(update={"norm": "group"}),
    },
    "tuned": {
        "optimizer": SGD(lr=0.0005),
        "label_smoothing": 0.2,
        "ema_decay": 0.8,
        "test_time_flip": True,
        "model": Model(name="resnet", whitening=True),
    },
}
OLD = pytest.mark.skipif(torch.__version__ < "2.12", reason="torch 2.11 cannot vmap a channels_last group norm")
NAMES = [pytest.param(name, marks=OLD if name == "group" else ()) for name in RECIPES]
SEEDS = (0, 1, 2)
CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
)


class Group:
    """The attempts at three seeds of one recipe, which train as one, in a project's folder of their own."""

    def __init__(self, runs: Runs, name: str, **recipe: Any):
        self.first = runs.changed(name, step="fused", **recipe)
        self.root = self.first.root
        self.specs = [self.first.spec.model_copy(update={"seed": seed}) for seed in SEEDS]

    def events(self, stop_after: int | None = None) -> Iterator[Event]:
        """One attempt; `stop_after` asks it to stop once so many events of this attempt are seen."""
        seen: list[Event] = []
        data, design = self.first.data, self.first.design
        for event in run_together(self.specs, design, data, self.root, lambda: len(seen) == stop_after):
            seen.append(event)
            yield event

    def one(self, number: int) -> Runs:
        return Runs(self.root, self.specs[number], self.first.design, self.first.data)


def runs_own_size(runs: Runs) -> float:
    """Of the checkpoint of a run that trains alone, in KiB."""
    alone = runs.elsewhere("alone")
    alone.interrupt(3)
    path = next(alone.folder.glob("*.ckpt"))
    return path.stat().st_size / 1024


def losses(rows: list[dict[str, Any]]) -> torch.Tensor:
    """Of both epochs, on training and on test images."""
    return torch.tensor([row[split]["loss"] for row in rows[1:3] for split in ("train", "test")])


def ends(group: Group) -> list[Fact]:
    """The last fact of each run."""
    return [journal.read(group.one(number).folder)[-1] for number in range(len(SEEDS))]


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("name", NAMES)
def test_each_step_is_the_solo_step(runs: Runs, name: str, device: str) -> None:
    """Ten steps in float64, where rounding does not grow: weights, norms' statistics, averages, what the optimiser
    remembers, rates and losses of every run are those of training alone."""
    recipe = runs.changed("double", device=device, **RECIPES[name]).spec.recipe

    def states() -> list[State]:
        made = []
        for seed in SEEDS:
            _, model = build_model(recipe, runs.data.dataset, seed)
            state = new_state(model.double(), recipe, float(recipe.optimizer.lr), 72)
            state.sums, state.first_bad = state.sums.double(), state.first_bad.double()
            made.append(state)
        return made

    alone, fused = states(), states()
    stack, autocast = Stack(fused, recipe), torch.autocast(device, enabled=False)
    images = torch.randn(10, 3, 16, 3, 12, 12, dtype=torch.float64, device=device)
    labels = torch.randint(3, (10, 3, 16), device=device)
    for step in range(10):
        stack.step(images[step], labels[step], autocast)
        for state, own_images, own_labels in zip(alone, images[step], labels[step], strict=True):
            take_step(state, own_images, own_labels, recipe, autocast)
    assert stack.bad() == {}
    for one, other in zip(fused, alone, strict=True):
        ours, theirs = one.state_dict(), other.state_dict()
        assert (ours.pop("lrs"), ours.pop("scheduler")) == (theirs.pop("lrs"), theirs.pop("scheduler"))
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)  # sums of losses are kept in float32


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("norm", ["batch", pytest.param("group", marks=OLD), "layer_chw"])
def test_in_bf16_a_step_is_the_solo_step_but_for_rounding(runs: Runs, norm: str, device: str) -> None:
    """Convolutions really compute in bf16, and norms' statistics stay fp32: the loss and each weight's first change are
    nearer to the solo bf16 step's than that is to the one in fp32."""
    model = Model(name="norm_cnn", norm=norm, head="gap", dropout=0.0)
    changes: dict[str, dict[str, Any]] = {"solo": {}, "fused": {"step": "fused"}, "fp32": {"precision": "fp32"}}
    images = torch.randint(256, (3, 16, 12, 12, 3), dtype=torch.uint8, device=device)
    labels = torch.randint(3, (3, 16), device=device)
    losses, moved = {}, {}
    for kind, change in changes.items():
        given = {"model": model, "precision": "bf16", "device": device, "memory_format": "channels_last"} | change
        recipe = runs.changed(kind, **given).spec.recipe
        parts = [build_model(recipe, runs.data.dataset, seed)[1] for seed in SEEDS]
        before = [model.get_parameter("head.weight").detach().clone() for model in parts]
        states = [new_state(model, recipe, 0.05, 72) for model in parts]
        normaliser = Normaliser.make((0.4,) * 3, (0.2,) * 3, device, recipe.memory_format, recipe.precision)
        inputs = normaliser(images.flatten(0, 1)).unflatten(0, (3, 16))
        if kind == "fused":
            Stack(states, recipe).step(inputs, labels, normaliser.autocast)
        else:
            for state, own_images, own_labels in zip(states, inputs, labels, strict=True):
                take_step(state, own_images, own_labels, recipe, normaliser.autocast)
        losses[kind] = torch.stack([state.sums[0] for state in states]) / 16
        after = [model.get_parameter("head.weight").detach() for model in parts]
        moved[kind] = torch.stack([new - old for new, old in zip(after, before, strict=True)])
    for value in (losses, moved):
        apart = {kind: float((value[kind] - value["solo"]).norm()) for kind in ("fused", "fp32")}
        assert apart["fp32"] > 0
        assert apart["fused"] < apart["fp32"], apart


@pytest.mark.parametrize("name", NAMES)
def test_each_run_is_its_solo_run_but_for_rounding(runs: Runs, name: str) -> None:
    """The same facts; losses on training and test images are near, though a tie that rounding breaks otherwise moves
    them a little: nearer than to any other seed's, whose images come in another order."""
    group = Group(runs, "fused", **RECIPES[name])
    list(group.events())
    alone = [
        runs.elsewhere(f"alone{number}", spec=spec).changed("eager", step="eager", **RECIPES[name])
        for number, spec in enumerate(group.specs)
    ]
    for one in alone:
        one.finish()
    for number in range(len(SEEDS)):
        ours = group.one(number).rows
        assert [row["kind"] for row in ours] == ["started", "epoch", "epoch", "finished"]
        assert [row["lrs"] for row in ours[1:3]] == [row["lrs"] for row in alone[number].rows[1:3]]
        apart = [torch.dist(losses(ours), losses(other.rows)) for other in alone]
        assert apart[number] == min(apart)
        assert 10 * apart[number] < sorted(apart)[1], (number, apart)


def test_stopped_runs_end_as_if_never_stopped(runs: Runs) -> None:
    """Stopped among the first facts, in the middle of an epoch, between two runs' evaluations and at the last ones'
    ends: the same weights and journal rows, with dropout, whose random numbers all runs share."""
    whole = Group(runs, "whole", augmentation=CROP)
    events = list(whole.events())
    kinds = [event.step if isinstance(event, StepDone) else event.kind for _, event in events]
    assert kinds == [*["started"] * 3, 1, 2, 3, 4, *["epoch"] * 3, 6, 7, 8, 9, *["epoch"] * 3, *["finished"] * 3]
    for stop_after in (2, 5, 8, 9, 12, 15, 18):
        again = Group(runs, f"stopped{stop_after}", augmentation=CROP)
        with pytest.raises(Interrupted):
            list(again.events(stop_after))
        torch.manual_seed(123)  # a new process would not have the old one's random state
        missing = [spec for spec in again.specs if not ended(journal.read(run_folder(again.root, spec)))]
        list(run_together(missing, again.first.design, again.first.data, again.root, lambda: False))
        for number in range(len(SEEDS)):
            assert again.one(number).rows == whole.one(number).rows, (stop_after, number)
            assert not checkpoint.exists(again.one(number).folder)


def test_checkpoints_of_different_steps_meet_at_the_earliest(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed while it saved one run after the other leaves some a step ahead; they end alike all the same."""
    whole = Group(runs, "whole")
    list(whole.events())
    monkeypatch.setattr(harness.execution.attempt, "CHECKPOINT_SECONDS", -1.0)
    killed, save = Group(runs, "killed"), checkpoint.save

    def dies(folder: Path, state: dict[str, Any], step: int) -> Path:
        if step == 7 and "s2" in folder.name:
            raise KeyboardInterrupt
        return save(folder, state, step)

    monkeypatch.setattr(checkpoint, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        list(killed.events())
    monkeypatch.setattr(checkpoint, "save", save)
    sizes = {path.stat().st_size // 1024 for n in range(3) for path in killed.one(n).folder.glob("*.ckpt")}
    assert max(sizes) < 1.5 * runs_own_size(runs)
    steps = [max(path.name for path in killed.one(n).folder.glob("*.ckpt")) for n in range(3)]
    assert steps == ["step-000000007.ckpt", "step-000000007.ckpt", "step-000000006.ckpt"]
    list(killed.events())
    assert [killed.one(n).rows for n in range(3)] == [whole.one(n).rows for n in range(3)]


def test_a_run_that_diverges_ends_alone(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first step's loss is not finite: that is its last fact, and the others' numbers are what they were."""
    whole, hurt = (Group(runs, name, model=DRY) for name in ("whole", "hurt"))
    list(whole.events())

    def spoilt(spec: RunSpec, data: DeviceData, workers: int) -> Parts:
        parts = build(spec, data, workers)
        if spec.seed == 1:
            next(parts.model.parameters()).data.fill_(torch.nan)
        return parts

    monkeypatch.setattr(harness.execution.attempt, "build", spoilt)
    list(hurt.events())
    first, diverged, last = ends(hurt)
    assert isinstance(diverged, Diverged)
    assert (diverged.step, diverged.where) == (1, "train")
    assert (first.kind, last.kind) == ("finished", "finished")
    assert [hurt.one(n).rows for n in (0, 2)] == [whole.one(n).rows for n in (0, 2)]
    assert not checkpoint.exists(hurt.one(1).folder)


def test_an_error_is_every_runs_fact(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """They train as one, so they fail as one; each has its traceback."""

    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Stack, "step", fail)
    group = Group(runs, "group")
    asked = list[int]()

    def fits(recipe: Recipe, dataset: Dataset, at_once: int) -> int:
        asked.append(at_once)
        return batch_that_fits(recipe, dataset, at_once)

    monkeypatch.setattr(harness.execution.attempt, "batch_that_fits", fits)
    list(group.events())
    assert asked == [3] * 3
    said = "out of memory: no room; batch_size is 16, 8 should fit: batch_size=8 or fewer SEEDS at once"
    assert [fact.error for fact in ends(group) if isinstance(fact, Failed)] == [said] * 3
    assert (group.one(2).folder / "traceback.txt").read_text().endswith("MemoryError: no room\n")


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_dropout_draws_for_each_run_of_its_own(runs: Runs, recipe: Recipe, rate: float) -> None:
    """Two equal networks on equal images part at the first step, whichever way their masks are drawn."""
    dropping = recipe.model_copy(update={"step": "fused", "model": Model(name="norm_cnn", head="gap", dropout=rate)})
    spec = runs.spec.model_copy(update={"recipe": dropping})
    parts = [build(spec, runs.data, workers=0) for _ in range(2)]
    states = [new_state(part.model, dropping, 0.05, 72) for part in parts]
    images = parts[0].normaliser(runs.data.train.images[:16])
    stack = Stack(states, dropping)
    stack.step(torch.stack([images, images]), runs.data.train.labels[:16].expand(2, -1), parts[0].normaliser.autocast)
    assert states[0].sums[0] != states[1].sums[0]


def test_batches_of_several_runs_are_theirs(runs: Runs) -> None:
    """Each run's augmented images, drawn together, are bit for bit those that it draws alone."""
    images = runs.data.train.images
    kinds: tuple[tuple[tuple[Transform, ...], Literal["auto", "albumentations"]], ...]
    kinds = ((), "auto"), (CROP, "auto"), (CROP, "albumentations")
    for transforms, backend in kinds:
        sources = [source(transforms, backend, images, (0.4,) * 3, seed) for seed in SEEDS]
        orders = [torch.randperm(72).split(16) for _ in SEEDS]
        alone = [list(one.batches(3, order)) for one, order in zip(sources, orders, strict=True)]
        drawn = list(together(sources, 3, orders))
        assert len(drawn) == 5
        for place, batch in enumerate(drawn):
            assert torch.equal(batch, torch.stack([of_run[place] for of_run in alone]))
