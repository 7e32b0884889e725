"""Optimisers and schedules: exact rates, read before each step, and arguments that reach torch."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from harness.plans import spec
from harness.plans.hyperparameters import SGD, Adam, AdamW, Constant, Cosine, OneCycle, Optimizer, Schedule, Step, kinds
from harness.plans.spec import Recipe
from harness.training.optimizers import build_optimizer, build_scheduler, check_schedule
from harness.values import SpecError, Values

SEED_003 = OneCycle(pct_start=5 / 24, anneal_strategy="linear", div_factor=100.0, final_div_factor=100.0)


def rates(schedule: Schedule, lr: float, steps_per_epoch: int, epochs: int) -> list[float]:
    """The rate of every step."""
    return [group["lr"] for group in groups(schedule, lr, steps_per_epoch, epochs)]


def groups(schedule: Schedule, lr: float, steps_per_epoch: int, epochs: int) -> list[dict[str, Any]]:
    """Adam's settings at every step of a whole run."""
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = build_scheduler(optimizer, schedule, lr, steps_per_epoch, epochs)
    seen = []
    for _ in range(epochs * steps_per_epoch):
        seen.append(dict(optimizer.param_groups[0]))
        optimizer.step()
        scheduler.step()
    return seen


def test_one_cycle_has_the_golden_values_of_seed_003() -> None:
    """24 epochs of 98 steps peaking at 0.0493 with the last batch of epoch 5, exactly as computed once and for all."""
    lrs = rates(SEED_003, 0.0493, 98, 24)
    golden = {
        0: 0.000493,
        98: 0.010274361963190183,
        489: 0.0493,
        490: 0.04927352574113856,
        2254: 0.002572933109559611,
    }
    assert {step: lrs[step] for step in golden} == golden
    assert len(lrs) == 2352
    assert lrs[2351] == pytest.approx(4.93e-6, rel=1e-12)  # 4.930000000000212e-06
    assert lrs.index(max(lrs)) == 489


@pytest.mark.parametrize(("final_div_factor", "last"), [(1.0, 0.001), (1e4, 1e-7)])
def test_both_endings_of_no_annihilation(final_div_factor: float, last: float) -> None:
    """final_div_factor=1 ends at LRMIN, where the cycle began; 1e4 ends that much lower."""
    lrs = rates(SEED_003.model_copy(update={"final_div_factor": final_div_factor}), 0.1, 10, 24)
    assert lrs[0] == pytest.approx(0.001, rel=1e-12)
    assert lrs[-1] == pytest.approx(last, rel=1e-12)


def test_three_phases_rise_fall_and_annihilate() -> None:
    """The fall mirrors the rise and ends where that began; the third phase goes down to the last rate."""
    lrs = rates(SEED_003.model_copy(update={"pct_start": 0.4, "three_phase": True}), 0.1, 10, 10)
    assert [lrs[step] for step in (0, 39, 78, 99)] == pytest.approx([0.001, 0.1, 0.001, 1e-5], rel=1e-9)
    assert lrs[39:79] == pytest.approx(lrs[39::-1], rel=1e-9)
    assert lrs[79] < lrs[78]


def test_one_cycle_swings_momentum_only_when_asked() -> None:
    """Adam's beta1 goes 0.95 → 0.85 → 0.95 with cycle_momentum, and stays where it was without."""
    swung = [group["betas"][0] for group in groups(SEED_003, 0.1, 10, 24)]
    assert [swung[0], swung[49], swung[-1]] == pytest.approx([0.95, 0.85, 0.95])
    still = groups(SEED_003.model_copy(update={"cycle_momentum": False}), 0.1, 10, 24)
    assert {group["betas"] for group in still} == {(0.9, 0.999)}


@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_without_room_to_rise_is_refused(three_phase: bool) -> None:
    """A quarter of four steps is one step: torch divides by zero there, the harness says what to change."""
    schedule = OneCycle(pct_start=0.25, three_phase=three_phase)
    rule = r"^`schedule.pct_start` must leave more than one step to the rise; got 0.25 of 4 steps; raise it, or epochs$"
    with pytest.raises(SpecError, match=rule):
        check_schedule(schedule, 4)
    check_schedule(schedule, 5)
    assert max(rates(schedule, 0.1, 5, 1)) <= 0.1


def test_step_drops_after_epoch_15_and_again_after_30() -> None:
    """Every batch of epochs 1 to 15 has the whole rate, the first of epoch 16 a tenth, of epoch 31 a hundredth."""
    lrs = rates(Step(step_epochs=15, gamma=0.1), 0.01, 3, 32)
    assert lrs == pytest.approx([0.01] * 45 + [0.001] * 45 + [0.0001] * 6, rel=1e-12)


def test_cosine_warms_up_and_comes_down() -> None:
    """Two epochs of linear rise to the peak, then half a cosine towards a tenth of it."""
    lrs = rates(Cosine(warmup_epochs=2.0, final_fraction=0.1), 0.5, 10, 8)
    assert lrs[:20] == pytest.approx([0.5 * (step + 1) / 21 for step in range(20)], rel=1e-12)
    assert [lrs[20], lrs[35], lrs[50]] == pytest.approx(
        [0.5, 0.05 + 0.45 * (2 + math.sqrt(2)) / 4, 0.05 + 0.45 / 2], rel=1e-12
    )
    assert lrs[20:] == sorted(lrs[20:], reverse=True)
    assert 0.05 < lrs[-1] < 0.051


def test_constant_stays() -> None:
    """Every step has the rate that was given."""
    assert set(rates(Constant(), 0.3, 2, 3)) == {0.3}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (SGD(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.02), torch.optim.SGD),
        (Adam(lr=0.1, betas=(0.7, 0.9), eps=1e-3, weight_decay=0.02), torch.optim.Adam),
        (AdamW(lr=0.1, betas=(0.7, 0.9), eps=1e-3, weight_decay=0.02), torch.optim.AdamW),
    ],
)
def test_optimizer_arguments_reach_torch(values: spec.Optimizer, kind: type, recipe: Recipe) -> None:
    """Three steps give the weights that torch's own class gives when it is built by hand with the same arguments."""
    models = [nn.Linear(4, 1, bias=False), nn.Linear(4, 1, bias=False)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [
        build_optimizer(models[0], recipe.model_copy(update={"optimizer": values}), lr=0.1),
        kind(models[1].parameters(), **values.model_dump(exclude={"name"})),
    ]
    assert type(optimizers[0]) is kind
    for step in range(3):
        for model, optimizer in zip(models, optimizers, strict=True):
            model.weight.grad = torch.tensor([[1.0, -2.0, 0.5, step]])
            optimizer.step()
    torch.testing.assert_close(models[0].weight, models[1].weight)


def test_only_trainable_parameters_are_optimised(recipe: Recipe) -> None:
    """Every parameter of a network is in the optimiser, but those that are frozen."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    held = build_optimizer(model, recipe, lr=0.1).param_groups[0]["params"]
    assert [id(parameter) for parameter in held] == [id(parameter) for parameter in model[1].parameters()]


@pytest.mark.parametrize("kind", kinds(Optimizer).values())
def test_every_optimiser_is_built(kind: type[Values], recipe: Recipe) -> None:
    """Whatever is added to the union: torch's own takes a step at the given rate."""
    model = nn.Linear(2, 1)
    asked = recipe.model_copy(update={"optimizer": kind.model_validate({"lr": 0.125})})
    optimizer = build_optimizer(model, asked, 0.125)
    model(torch.ones(1, 2)).sum().backward()
    before = model.weight.detach().clone()
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.125
    assert not torch.equal(before, model.weight)


@pytest.mark.parametrize("kind", kinds(Schedule).values())
def test_every_schedule_is_built(kind: type[Values], recipe: Recipe) -> None:
    """Whatever is added to the union: ten steps of it leave a rate between 0 and the peak."""
    optimizer = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.125)
    scheduler = build_scheduler(optimizer, recipe.model_copy(update={"schedule": kind()}).schedule, 0.125, 5, 2)
    for _ in range(9):
        optimizer.step()
        scheduler.step()
    assert 0 <= scheduler.get_last_lr()[0] <= 0.125
