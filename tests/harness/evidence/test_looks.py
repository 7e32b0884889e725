"""Looks that are paid for: what is decided when, that nothing is spent twice, and the errors over all looks."""

import math

import numpy as np
import pytest

from harness.evidence.looks import LOOKS, Decision, check_looks, decide, likely, spend
from harness.evidence.signs import statistics, step_down, tabulate
from harness.values import SpecError

GAP = {seed: 1.0 + 0.01 * seed for seed in range(20)}
NOISE = dict(enumerate(np.random.default_rng(5).normal(0, 1, 20).tolist()))


def first(differences: dict[int, float], seeds: int) -> dict[int, float]:
    return {seed: value for seed, value in differences.items() if seed < seeds}


def only(differences: dict[int, float], seeds: int, margin: float = 0.5, looks: tuple[int, ...] = LOOKS) -> Decision:
    return decide({"group": first(differences, seeds)}, range(seeds), looks, margin)["group"]


def test_the_level_is_spent_over_the_looks() -> None:
    """All of it at the last, and never more."""
    assert [round(spend(look / 20), 4) for look in LOOKS] == [0.0235, 0.031, 0.0395, 0.05]
    assert spend(1.5) == pytest.approx(0.05)


def test_a_clear_difference_is_shown_at_the_first_look_and_stays_so() -> None:
    """Also when later seeds say otherwise: what has been shown was paid for."""
    assert only(GAP, 6) == Decision("group", "open", 0, 0.0, "the first look is at 7 seeds")
    shown = only(GAP, 7)
    assert (shown.outcome, shown.seeds, shown.reason) == ("better", 7, "shown at the look at 7 seeds")
    assert shown.spent == pytest.approx(math.log(1 + (math.e - 1) * 0.35))
    assert only({seed: -value for seed, value in GAP.items()}, 9).outcome == "worse"
    turned = GAP | dict.fromkeys(range(7, 20), -5.0)
    assert only(turned, 20) == shown


def test_noise_stays_open_until_the_last_look() -> None:
    assert only(NOISE, 8, margin=0.9).reason == "the next look is at 10 seeds"
    last = only(NOISE, 20, margin=0.51)
    assert (last.outcome, last.seeds) == ("open", 20)
    assert last.reason == "not decided at the last look, at 20 seeds"


def test_equal_recipes_are_equivalent_as_soon_as_the_level_allows() -> None:
    assert only(dict.fromkeys(range(20), 0.0), 7).outcome == "equivalent"
    near = {seed: 0.01 * (-1) ** seed for seed in range(20)}
    assert only(near, 7).reason == "shown to differ by less than 0.5 at the look at 7 seeds"


def test_what_neither_shows_nor_is_equivalent_is_futile() -> None:
    """No trend, and a spread ten times what matters: 20 seeds would tell nothing."""
    wide = {seed: 5.0 * (-1) ** seed for seed in range(20)}
    found = only(wide, 7)
    assert found.outcome == "futile"
    assert found.reason.startswith(
        "at the look at 7 seeds the chance that 20 would show a difference or equivalence was"
    )


def test_the_chance_of_the_trend() -> None:
    """A mean of two standard errors after half of the seeds ends at 2.8 if it goes on, with a spread of 0.7: at a
    level of 0.05 it is shown with a chance of Φ((2.83 - 1.96) / 0.71)."""
    values = np.array([1.0, 3.0] * 5)
    values = 2 + (values - 2) * math.sqrt(10) / values.std(ddof=1)  # mean 2, standard error 1
    assert likely(values, 20, 0.0, 0.05) == pytest.approx(0.89, abs=0.005)
    assert likely(np.array([1.0]), 20, 0.5, 0.05) == likely(np.zeros(0), 20, 0.5, 0.05) == 1.0


def test_what_is_shown_at_a_look_is_shown_by_the_test_of_one_look() -> None:
    """So an interval of one look never holds 0 where a look has decided; and without looks more is shown."""
    rng, shown = np.random.default_rng(6), [0, 0]
    for _ in range(60):
        drawn = rng.normal(0.9, 1, (2, 10))
        table = {name: dict(enumerate(row)) for name, row in zip("ab", drawn, strict=True)}
        for at in (7, 10):
            cut = {name: first(row, at) for name, row in table.items()}
            decided = decide(cut, range(at), LOOKS, 0.01)
            p_values = step_down(statistics(tabulate(cut, range(at))[0]))
            for p_value, decision in zip(p_values, decided.values(), strict=True):
                if decision.seeds == at and decision.outcome == "better":
                    assert p_value < 0.05
                shown[0] += decision.outcome == "better"
                shown[1] += p_value < 0.05
    assert 0 < shown[0] < shown[1]


def test_variants_are_corrected_together_and_decided_apart() -> None:
    """A shown variant may stop; what it lacks afterwards does not stop the others from being shown."""
    table = {"a": first(GAP, 7), "b": first(NOISE, 7), "c": {}}
    early = decide(table, range(7), LOOKS, 0.7)
    assert [d.outcome for d in early.values()] == ["better", "open", "open"]
    later = decide(table | {"b": NOISE | {seed: 3.0 + 0.1 * seed for seed in range(7, 20)}}, range(20), LOOKS, 0.7)
    assert later["a"] == early["a"]
    assert (later["b"].outcome, later["c"].outcome) == ("better", "open")


def test_more_than_twenty_seeds_are_looked_at_through_sampled_patterns() -> None:
    wide = {seed: 0.6 + 1.5 * (-1) ** seed for seed in range(40)}
    found = only(wide, 40, margin=0.1, looks=(10, 20, 40))
    assert (found.outcome, found.seeds) == ("better", 40)


@pytest.mark.parametrize("looks", [(), (7, 7), (10, 7), (1, 7)])
def test_looks_must_increase(looks: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match="must be increasing numbers of seeds from 2 on"):
        check_looks(looks)


def test_a_seed_that_nobody_declared_is_refused() -> None:
    with pytest.raises(SpecError, match=r"differences must be of the seeds \[0, 1\]; got also \[7\]"):
        decide({"group": {7: 1.0}}, [0, 1], LOOKS, 0.5)
