"""Seeds until it is decided: which runs are made, at which looks, what is remembered, and what is refused."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.execution.execute import Outcome
from harness.execution.until import until
from harness.plans.experiment import Design
from harness.plans.looks import Look
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, Model, RunSpec
from harness.records import looks
from harness.records.events import Diverged, Event, Scores
from harness.tracking.tracker import Summary
from harness.values import SpecError
from tests.harness.execution.conftest import StandIn

LOOKS = (7, 10, 14)
NOISE = (0.0, 0.4, -0.3, 0.6, -0.5, 0.2, -0.1, 0.3, -0.4, 0.5, -0.2, 0.1, 0.45, -0.35)
"""Of each seed, points: the same for the baseline whatever the variant."""
EFFECTS = {"batch": (0.0, 0.0), "group": (-2.0, 0.3), "layer": (0.1, 1.2), "chw": (-0.4, 3.0)}
"""Variant → its true difference, points, and how far its own noise reaches."""


@dataclass
class Maker(StandIn):
    """Every run has the accuracy that its variant and seed say; the plan is kept as `make run` keeps it."""

    diverging: tuple[str, int] | None = None
    asked: list[list[tuple[str, int]]] = field(default_factory=list)

    def __call__(self, plan: Plan) -> Outcome:
        self.asked.append([(spec.variant, spec.seed) for spec in plan.runs])
        outcome = super().__call__(plan)
        if outcome == Outcome():
            plan_file = self.root / "runs" / plan.design.experiment / "plan.json"
            plan_file.write_text(Summary(design=plan.design, runs=()).model_dump_json())
        return outcome

    def events(self, spec: RunSpec, design: Design) -> list[Event]:
        if (spec.variant, spec.seed) == self.diverging:
            return [self.begun(spec, design), Diverged(time=1.0, step=3, where="train")]
        effect, reach = EFFECTS[spec.variant]
        own = NOISE[(5 * spec.seed + 3) % len(NOISE)]
        accuracy = round((70 + NOISE[spec.seed] + effect + reach * own) / 100, 4)
        return self.scored(spec, design, test=Scores(loss=1.0, accuracy=accuracy))


@pytest.fixture
def maker(tmp_path: Path, events: list[Event]) -> Callable[..., Maker]:
    return lambda **more: Maker(tmp_path, events, **more)


@pytest.fixture
def plan(spec: RunSpec, circumstances: Circumstances, design: Design) -> Plan:
    """Four norms, looks at 7, 10 and 14 seeds."""
    seeds = tuple(range(LOOKS[-1]))
    recipes = {v: spec.recipe.model_copy(update={"model": Model(name="norm_cnn", norm=v)}) for v in EFFECTS}
    runs = [spec.model_copy(update={"variant": v, "seed": s, "recipe": recipes[v]}) for s in seeds for v in EFFECTS]
    more = {"variants": tuple(EFFECTS), "baseline": "batch", "seeds": seeds, "looks": LOOKS, "max_seeds": LOOKS[-1]}
    return Plan(design.model_copy(update=more), tuple(runs), circumstances, tuple(runs[:4]))


def counts(make: Maker) -> dict[str, int]:
    return {variant: sum(spec.variant == variant for spec in make.made) for variant in EFFECTS}


def test_a_variant_stops_when_it_is_decided_and_the_others_go_on(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """group, two points worse, has 7 seeds; layer, nothing apart, goes on to where it is equivalent; the baseline goes
    on with the last."""
    part, outcome = until(plan, tmp_path, make := maker())
    said = capsys.readouterr().out
    assert outcome.signal is None
    assert "look 1 of 3, at 7 seeds, 3.1% of error spent of 5%: group worse, layer open" in said
    assert counts(make)["group"] == 7
    assert 7 < counts(make)["layer"] <= 14
    assert counts(make)["batch"] == max(counts(make).values())
    assert len(part.runs) == len(make.made), "what was asked in the end is what was made, also of who stopped early"
    assert {spec.variant for spec in part.runs} == set(EFFECTS)


def test_looks_stand_in_every_record_before_the_first_result(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path
) -> None:
    """The design that the first run is recorded with has the looks and the most seeds."""
    with pytest.raises(RuntimeError, match="first"):
        until(plan, tmp_path, _refusing(lambda asked: (asked.design.looks, asked.design.max_seeds) == (LOOKS, 14)))


def _refusing(check: Callable[[Plan], bool]) -> Callable[[Plan], Outcome]:
    def make(asked: Plan) -> Outcome:
        assert check(asked)
        raise RuntimeError("the first run")

    return make


def test_a_command_that_was_stopped_goes_on_and_ends_as_if_it_had_not(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path
) -> None:
    """Stopped three times it makes each run once, those of a command that was never stopped."""
    calm = Maker(tmp_path / "calm", maker().template)
    until(plan, tmp_path / "calm", calm)
    made: list[RunSpec] = []
    for _ in range(3):
        _, outcome = until(plan, tmp_path, make := maker(stop_after=9))
        assert outcome.signal == 2
        made += make.made
    until(plan, tmp_path, make := maker())
    assert [spec.key for spec in [*made, *make.made]] == [spec.key for spec in calm.made]
    once, again = (looks.read(root / "runs" / "tiny_trial") for root in (tmp_path / "calm", tmp_path))
    assert [look.results for look in again] == [look.results for look in once]
    assert all(look.planned for look in again)


def test_a_run_without_a_result_counts_as_no_difference(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path
) -> None:
    """group diverged at one of seven seeds: six differences are left, which cannot pass the first look."""
    until(plan, tmp_path, make := maker(diverging=("group", 3)))
    assert counts(make)["group"] > 7


def test_other_looks_than_those_declared_are_refused(plan: Plan, maker: Callable[..., Maker], tmp_path: Path) -> None:
    """A look too many, declared after results were seen, is not paid for: one line, and nothing trains."""
    until(plan, tmp_path, maker())
    more = {"looks": (7, 8, 10, 14)}
    changed = Plan(plan.design.model_copy(update=more), plan.runs, plan.circumstances, plan.declared)
    with pytest.raises(SpecError, match=r"`looks` must be those that were declared before the first run, at 7, 10, 14"):
        until(changed, tmp_path, _refusing(lambda asked: False))


def test_a_look_in_between_is_said(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report of three seeds, before: what it cost the error is said, and the looks' journal has it."""
    looks.note(tmp_path / "runs" / "tiny_trial", Look(time=1.0, seeds=(0, 1, 2), variants=("batch",), runs=3))
    until(plan, tmp_path, maker())
    assert "note: results were seen once outside the declared looks" in capsys.readouterr().out
    assert [look.planned for look in looks.read(tmp_path / "runs" / "tiny_trial")][:2] == [False, True]
