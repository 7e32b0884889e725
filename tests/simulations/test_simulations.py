"""docs/simulations.md in short: errors hold, intervals cover, and the joint test finds what Holm's could not."""

from math import sqrt

import pytest

from tests.simulations import cells
from tests.simulations.__main__ import rate, table


def at_most(level: float, draws: int) -> float:
    """The most that a rate of this level comes to, but for four standard errors."""
    return level + 4 * sqrt(level * (1 - level) / draws)


@pytest.mark.parametrize("kind", ["normal", "exponential", "t3", "accuracy"])
@pytest.mark.parametrize(("n", "variants", "differing"), [(6, 3, 0), (7, 6, 3)])
def test_the_familywise_error_is_what_is_promised(kind: str, n: int, variants: int, differing: int) -> None:
    """Complete and partial nulls; the test is no dead one either."""
    error = cells.familywise_error(kind, n, variants, differing, 600)
    assert 0.005 < error < at_most(0.055, 600)


def test_skewed_differences_break_it_as_the_documents_say() -> None:
    """A known limit, kept in sight: an exponential tail in the differences themselves."""
    assert 0.08 < cells.familywise_error("skewed", 7, 3, 0, 600) < 0.25


def test_five_seeds_show_nothing_and_six_show_what_holm_could_not() -> None:
    assert cells.familywise_error("normal", 5, 3, 1, 200) == 0
    together, holm = cells.power(6, 3, 3, 2.0, 300)
    assert (holm, together > 0.7) == (0, True)


@pytest.mark.parametrize(("kind", "effect"), [("normal", 0.0), ("normal", 1.0), ("accuracy", 1.0)])
def test_intervals_cover(kind: str, effect: float) -> None:
    """Each alone at least 95%; all together 95% where nothing differs."""
    alone, together = cells.coverage(kind, 7, 3, effect, 400)
    assert alone > 0.95 - 4 * sqrt(0.95 * 0.05 / 1200)
    assert together > (0.95 if effect == 0 else 0.89) - 4 * sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("margin", [1.0, 2.5])
def test_equivalence_of_any_variant_is_rarely_claimed_wrongly(margin: float) -> None:
    assert cells.equivalence_error("normal", 7, 3, margin, 600) < at_most(0.055, 600)


def test_looks_that_nobody_pays_for_err_more_often() -> None:
    assert cells.unpaid("normal", 1, 1500) > 0.06


def test_looks_that_are_paid_for_keep_their_error_and_save_seeds() -> None:
    """Three looks up to ten seeds; where all differ by 2 spreads most are shown at the first."""
    null = cells.paid("normal", 3, 0.0, 0.5, 150, looks=(6, 8, 10))
    assert null["any shown"] < at_most(0.05, 150)
    same = cells.paid("normal", 3, 1.0, 1.0, 150, looks=(6, 8, 10))
    assert same["any equivalent"] < at_most(0.05, 150)
    differ = cells.paid("normal", 3, 2.0, 0.5, 60, looks=(7, 8, 10))
    assert (differ["shown"] > 0.9, differ["seeds"] < 8.5) == (True, True)


def test_tables_give_each_rate_its_error() -> None:
    assert rate(0.05, 475) == "0.050 ± 0.010"
    assert rate(0.0, 100) == "0.000 ± 0.001"
    assert table("Title", "Said.", ("a", "b"), [(1, 2)]) == [
        "## Title\n", "Said.\n", "| a | b |", "| --- | --- |", "| 1 | 2 |", "",
    ]  # fmt: skip
