"""What differs between seeds alone is a block; what differs within a seed is mixed up with the factor."""

import pytest

from harness.plans.spec import RunSpec
from harness.records.blocks import confounded, is_block
from tests.reports import records


def runs(**values: str) -> list[tuple[int, str, str]]:
    """a0="x" is variant a, seed 0, with the value x."""
    return [(int(name[1:]), name[0], value) for name, value in values.items()]


LATER = runs(a0="x", b0="x", a1="x", b1="x", a2="y", b2="y")


@pytest.mark.parametrize("field", ["environment.code", "environment.versions.torch", "circumstances.threads"])
def test_later_seeds_of_all_variants_are_a_block(field: str) -> None:
    assert is_block(field, LATER)
    assert not is_block(field, runs(a0="x", a1="y")), "a single variant has no pairs"


@pytest.mark.parametrize("field", ["epochs", "data.checksum", "lr_found", "model.norm", "environment.model_code"])
def test_what_is_asked_and_what_a_run_found_is_never_a_block(field: str) -> None:
    assert not is_block(field, LATER)


def test_a_difference_within_a_seed_is_no_block() -> None:
    assert not is_block("environment.code", [*LATER, *runs(a3="x", b3="y")])
    assert not is_block("environment.code", runs(a0="x", b0="y"))


def test_a_seed_with_one_run_is_no_block() -> None:
    """A variant alone on another machine has its machine and itself mixed up."""
    assert not is_block("environment.processor", [*LATER, *runs(a3="y")])
    assert not is_block("environment.processor", runs(a0="x", b1="y"))


def specs(*named: str) -> list[RunSpec]:
    return [
        RunSpec(experiment="norms", variant="group" if name[0] == "g" else "batch", seed=int(name[1:]),
                recipe=records.recipe("batch"), images="feed")
        for name in named
    ]  # fmt: skip


def test_later_seeds_may_be_made_by_later_code() -> None:
    """Seeds 0 and 1 are made; seed 2 of both variants is to be made by other code. Not so if a run of seed 1 lacks."""
    changed = {"environment.code": ("old", "new"), "data.checksum": ("feed", "beef")}
    made = [(spec, changed) for spec in specs("b0", "g0", "b1", "g1")]
    assert confounded(made, specs("b2", "g2")) == {"data.checksum"}
    assert confounded(made[:3], specs("g1", "b2", "g2")) == {"data.checksum", "environment.code"}
    assert confounded(made, specs("b2")) == {"data.checksum", "environment.code"}
    mixed = [*made[:3], (made[3][0], {})]
    assert confounded(mixed, specs("b2", "g2")) == {"data.checksum", "environment.code"}
    assert confounded([], specs("b2")) == set()
