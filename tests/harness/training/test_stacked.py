"""Runs that train as one: each is its solo run but for rounding, saved, resumed and ended on its own."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import harness.execution.attempt
import harness.execution.job
import harness.execution.run
from harness.augmentation.normaliser import Normaliser
from harness.data.load import Dataset
from harness.execution.run import ended, run, run_folder
from harness.plans.hyperparameters import SGD, Adam, OneCycle
from harness.plans.spec import Circumstances, Model, Recipe, RunSpec, Transform
from harness.records import checkpoint, journal
from harness.records.events import Diverged, Event, Failed
from harness.training.build import DeviceData, Parts, build, build_learner, build_model, new_state
from harness.training.evaluate import Interrupted
from harness.training.loop import Alone, State, StepDone
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
        "optimizer": SGD(lr=0.005),
        "label_smoothing": 0.2,
        "ema_decay": 0.8,
        "test_time_flip": True,
        "model": DRY,
    },
}
WHITENED = RECIPES["tuned"] | {"optimizer": SGD(lr=0.0005), "model": Model(name="resnet", whitening=True)}
OLD = pytest.mark.skipif(torch.__version__ < "2.12", reason="torch 2.11 cannot vmap a channels_last group norm")
NAMES = [pytest.param(name, marks=OLD if name == "group" else ()) for name in RECIPES]
SEEDS = (0, 1, 2)
AUTOCAST = torch.autocast("cpu", enabled=False)
CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
)


class Group:
    """The attempts at three seeds of one recipe, which train as one, in a project's folder of their own."""

    def __init__(self, runs: Runs, name: str, **recipe: Any):
        self.first = runs.changed(name, step="stacked", **recipe)
        self.root = self.first.root
        self.specs = [self.first.spec.model_copy(update={"seed": seed}) for seed in SEEDS]

    def events(self, stop_after: int | None = None) -> Iterator[tuple[RunSpec, StepDone | Event]]:
        """One attempt at all that have not ended; `stop_after` asks it to stop once it has seen so many events."""
        seen: list[Any] = []
        first = self.first
        missing = [spec for spec in self.specs if not ended(journal.read(run_folder(self.root, spec)))]
        for event in run(
            missing, first.circumstances, first.design, first.data, self.root, lambda: len(seen) == stop_after
        ):
            seen.append(event)
            yield event

    def one(self, number: int) -> Runs:
        first = self.first
        return Runs(self.root, self.specs[number], first.circumstances, first.design, first.data)


def runs_own_size(runs: Runs) -> float:
    """Of the checkpoint of a run that trains alone, in KiB."""
    alone = runs.elsewhere("alone")
    alone.interrupt(3)
    path = next(alone.folder.glob("*.ckpt"))
    return path.stat().st_size / 1024


def losses(rows: list[dict[str, Any]]) -> torch.Tensor:
    """Of both epochs, on training and on test images."""
    return torch.tensor([row[split]["loss"] for row in rows[1:3] for split in ("train", "test")])


def ends(group: Group) -> list[Event]:
    """The last event of each run."""
    return [journal.read(group.one(number).folder)[-1] for number in range(len(SEEDS))]


def new_states(runs: Runs, double: bool = False, seeds: Sequence[int] = SEEDS) -> list[State]:
    """Of these seeds, before their first step."""
    recipe, made = runs.spec.recipe, []
    for seed in seeds:
        _, model = build_model(recipe, runs.circumstances, runs.data.dataset, seed)
        model = model.double() if double else model
        state = new_state(model, recipe, runs.circumstances, float(recipe.optimizer.lr), 72)
        made.append(state)
        if double:
            state.sums, state.first_bad = state.sums.double(), state.first_bad.double()
    return made


def take_steps(
    states: list[State], runs: Runs, images: Tensor, labels: Tensor, autocast: torch.autocast, step: str
) -> None:
    """Steps on images (steps, M, B, C, H, W): of each run alone, or of all at once."""
    recipe, around = runs.spec.recipe, runs.circumstances.model_copy(update={"step": step})
    if step == "stacked":
        learners = [(build_learner(states, recipe, around, autocast), slice(None))]
    else:
        learners = [
            (build_learner([state], recipe, around, autocast), slice(place, place + 1))
            for place, state in enumerate(states)
        ]
    for some_images, some_labels in zip(images, labels, strict=True):
        for learner, own in learners:
            learner.step(some_images[own], some_labels[own])
    assert not any(learner.first_bad_steps() for learner, _ in learners)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("name", [*NAMES, "whitened"])
def test_each_step_is_the_solo_step(runs: Runs, name: str, device: str) -> None:
    """In float64, where rounding does not grow: weights, norms' statistics, averages, what the optimiser remembers,
    rates and losses of every run are those of training alone. Ten steps; two small ones of the large network."""
    double = runs.changed("double", device=device, **RECIPES.get(name, WHITENED))
    steps, seeds, size = (2, SEEDS[:2], 4) if name == "whitened" else (10, SEEDS, 16)
    images = torch.randn(steps, len(seeds), size, 3, 12, 12, dtype=torch.float64, device=device)
    labels = torch.randint(3, (steps, len(seeds), size), device=device)
    alone, stacked = new_states(double, double=True, seeds=seeds), new_states(double, double=True, seeds=seeds)
    autocast = torch.autocast(device, enabled=False)
    take_steps(alone, double, images, labels, autocast, "eager")
    take_steps(stacked, double, images, labels, autocast, "stacked")
    for one, other in zip(stacked, alone, strict=True):
        ours, theirs = one.state_dict(), other.state_dict()
        assert (ours.pop("lrs"), ours.pop("scheduler")) == (theirs.pop("lrs"), theirs.pop("scheduler"))
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)  # sums of losses are kept in float32


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("norm", ["batch", pytest.param("group", marks=OLD), "layer_chw"])
def test_in_bf16_a_step_is_the_solo_step_but_for_rounding(runs: Runs, norm: str, device: str) -> None:
    """Convolutions really compute in bf16, and norms' statistics stay fp32: the loss and each weight's first change are
    nearer to the solo bf16 step's than that is to the one in fp32."""
    model = Model(name="norm_cnn", norm=norm, head="gap", dropout=0.0)
    changes = {"solo": ("bf16", "eager"), "stacked": ("bf16", "stacked"), "fp32": ("fp32", "eager")}
    images = torch.randint(256, (3, 16, 12, 12, 3), dtype=torch.uint8, device=device)
    labels = torch.randint(3, (3, 16), device=device)
    losses, moved = {}, {}
    for kind, (precision, step) in changes.items():
        given = runs.changed(kind, model=model, precision=precision, device=device)
        states = new_states(given)
        before = [state.model.get_parameter("head.weight").detach().clone() for state in states]
        normaliser = Normaliser.make((0.4,) * 3, (0.2,) * 3, device, "channels_last", precision)
        inputs = normaliser(images.flatten(0, 1)).unflatten(0, (3, 16))
        take_steps(states, given, inputs[None], labels[None], normaliser.autocast, step)
        losses[kind] = torch.stack([state.sums[0] for state in states]) / 16
        after = [state.model.get_parameter("head.weight").detach() for state in states]
        moved[kind] = torch.stack([new - old for new, old in zip(after, before, strict=True)])
    for value in (losses, moved):
        apart = {kind: float((value[kind] - value["solo"]).norm()) for kind in ("stacked", "fp32")}
        assert apart["fp32"] > 0
        assert apart["stacked"] < apart["fp32"], apart


class Scaled(nn.Module):
    """A linear network whose logits are multiplied by a parameter that is a single number."""

    def __init__(self, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.layer, self.scale = nn.Linear(12, 3), nn.Parameter(torch.tensor(1.0 + seed))

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1)) * self.scale


@pytest.mark.parametrize("optimizer", [Adam(lr=0.01), SGD(lr=0.01)], ids=lambda optimizer: optimizer.name)
def test_a_parameter_may_be_a_single_number(
    recipe: Recipe, circumstances: Circumstances, optimizer: Adam | SGD
) -> None:
    """What Adam remembers of it has the shape of its count of steps. Clipped, saved and taken up again in the middle,
    steps are the solo run's."""
    given = recipe.model_copy(update={"optimizer": optimizer, "clip_norm": 0.5})
    images, labels = torch.randn(4, 2, 8, 3, 2, 2), torch.randint(3, (4, 2, 8))

    def states() -> list[State]:
        return [new_state(Scaled(seed), given, circumstances, 0.01, 72) for seed in (0, 1)]

    def remembered(made: list[State]) -> list[dict[str, Any]]:
        return [state.optimizer.state_dict()["state"] | dict(state.model.named_parameters()) for state in made]

    alone, stacked = states(), states()
    for place, state in enumerate(alone):
        for step in range(4):
            Alone(state, given, AUTOCAST).step(images[step][[place]], labels[step][[place]])
    for steps in ((0, 1), (2, 3)):
        saved, stacked = [state.state_dict() for state in stacked], states()
        for state, kept in zip(stacked, saved, strict=True):
            state.load_state_dict(kept)
        learner = Stack(stacked, given, AUTOCAST)
        for step in steps:
            learner.step(images[step], labels[step])
    torch.testing.assert_close(remembered(stacked), remembered(alone))


@pytest.mark.parametrize("name", NAMES)
def test_each_run_is_its_solo_run_but_for_rounding(runs: Runs, name: str) -> None:
    """The same events; losses on training and test images are near, though a tie that rounding breaks otherwise moves
    them a little: nearer than to any other seed's, whose images come in another order."""
    group = Group(runs, "stacked", **RECIPES[name])
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
    """Stopped among the first events, in the middle of an epoch, between two runs' evaluations and at the last ones'
    ends: the same weights and journal rows, with dropout, whose random numbers all runs share."""
    whole = Group(runs, "whole", augmentation=CROP)
    events = list(whole.events())
    kinds = [event.step if isinstance(event, StepDone) else event.kind for _, event in events]
    assert kinds == [*["started"] * 3, 1, 2, 3, 4, *["epoch"] * 3, 6, 7, 8, 9, *["epoch"] * 3, *["finished"] * 3]
    for stop_after in (2, 5, 9, 15, 18):
        again = Group(runs, f"stopped{stop_after}", augmentation=CROP)
        with pytest.raises(Interrupted):
            list(again.events(stop_after))
        torch.manual_seed(123)  # a new process would not have the old one's random state
        list(again.events())
        for number in range(len(SEEDS)):
            assert again.one(number).rows == whole.one(number).rows, (stop_after, number)
            assert not checkpoint.exists(again.one(number).folder)


def test_checkpoints_of_different_steps_meet_at_the_earliest(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed while it saved one run after the other leaves some a step ahead; they end alike all the same."""
    whole = Group(runs, "whole")
    list(whole.events())
    monkeypatch.setattr(harness.execution.run, "CHECKPOINT_SECONDS", -1.0)
    killed, save = Group(runs, "killed"), checkpoint.save

    def dies(folder: Path, state: dict[str, Any], step: int, key: str) -> Path:
        if step == 7 and "s2" in folder.name:
            raise KeyboardInterrupt
        return save(folder, state, step, key)

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
    """Its first step's loss is not finite: that is its last event, and the others' numbers are what they were."""
    whole, hurt = (Group(runs, name, model=DRY) for name in ("whole", "hurt"))
    list(whole.events())

    def spoilt(spec: RunSpec, circumstances: Circumstances, data: DeviceData, workers: int) -> Parts:
        parts = build(spec, circumstances, data, workers)
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

    def fits(recipe: Recipe, circumstances: Circumstances, dataset: Dataset, at_once: int) -> int:
        asked.append(at_once)
        return batch_that_fits(recipe, circumstances, dataset, at_once, lambda _: 1e9)

    monkeypatch.setattr(harness.execution.job, "batch_that_fits", fits)
    list(group.events())
    assert asked == [3] * 3
    said = "out of memory: no room; batch_size is 16, 8 should fit: batch_size=8 or fewer SEEDS at once"
    assert [event.error for event in ends(group) if isinstance(event, Failed)] == [said] * 3
    assert (group.one(2).folder / "traceback.txt").read_text().endswith("MemoryError: no room\n")


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_dropout_draws_for_each_run_of_its_own(runs: Runs, rate: float) -> None:
    """Two equal networks on equal images part at the first step, whichever way their masks are drawn."""
    dropping = runs.changed("dropping", step="stacked", model=Model(name="norm_cnn", head="gap", dropout=rate))
    parts = [build(dropping.spec, dropping.circumstances, runs.data, workers=0) for _ in range(2)]
    recipe = dropping.spec.recipe
    states = [new_state(part.model, recipe, dropping.circumstances, 0.05, 72) for part in parts]
    images = parts[0].normaliser(runs.data.train.images[:16])
    stack = Stack(states, recipe, AUTOCAST)
    stack.step(images.expand(2, *images.shape), runs.data.train.labels[:16].expand(2, -1))
    assert states[0].sums[0] != states[1].sums[0]
