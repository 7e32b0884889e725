"""The joint sign-flip test: its seven steps by hand, its symmetries, and the fewest seeds that can show anything."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.evidence.signs import (
    EXACT_SEEDS,
    SAMPLED,
    beyond,
    fewest_pairs,
    flip_sums,
    one_sided,
    smallest_p,
    statistics,
    step_down,
    tabulate,
)

# Darwin's cross- and self-fertilised maize, differences in eighths of an inch (Fisher 1935, §17 and §21)
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

tables = st.integers(1, 4).flatmap(
    lambda rows: st.lists(st.lists(st.integers(-300, 300), min_size=rows, max_size=rows), min_size=1, max_size=8).map(
        lambda columns: np.array(columns, dtype=float).T / 100
    )
)


def by_hand(rows: np.ndarray) -> list[float]:
    """The seven steps as they are written down, pattern by pattern."""
    patterns = [np.array((1, *rest)) for rest in itertools.product((1, -1), repeat=rows.shape[1] - 1)]
    norms = [np.sqrt((row**2).sum()) for row in rows]
    flipped = [
        [abs((signs * row).sum()) / (norm or 1.0) for row, norm in zip(rows, norms, strict=True)] for signs in patterns
    ]
    order, p_values, before = sorted(range(len(rows)), key=lambda k: -flipped[0][k]), [0.0] * len(rows), 0.0
    for place, k in enumerate(order):
        reaching = [max(found[i] for i in order[place:]) >= flipped[0][k] - 1e-9 for found in flipped]
        before = p_values[k] = max(before, sum(reaching) / len(patterns))
    return p_values


def test_fishers_maize_example() -> None:
    """Fisher counted 863 of 32,768 patterns on one side: 5.267% on both."""
    assert step_down(statistics(np.array([MAIZE], dtype=float))) == pytest.approx([2 * 863 / 32768], abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(tables)
def test_p_values_are_those_of_the_seven_steps(rows: np.ndarray) -> None:
    assert step_down(statistics(rows)) == pytest.approx(by_hand(rows), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(tables)
def test_directions_and_orders_change_nothing(rows: np.ndarray) -> None:
    """Neither which recipe is called the baseline, nor the order of seeds or of comparisons, nor the unit."""
    p_values = step_down(statistics(rows))
    shuffled = np.random.default_rng(0)
    seeds, order = shuffled.permutation(rows.shape[1]), shuffled.permutation(len(rows))
    assert step_down(statistics(-rows[:, seeds])) == pytest.approx(p_values, abs=1e-12)
    assert step_down(statistics(7 * rows[order])) == pytest.approx(p_values[order], abs=1e-12)
    assert (p_values >= smallest_p(rows.shape[1])).all()
    assert (p_values >= [step_down(statistics(row[None]))[0] - 1e-12 for row in rows]).all()


def test_six_seeds_suffice_for_any_number_of_comparisons() -> None:
    """Holm needed 8 seeds for six comparisons; the joint test needs 6 for ten, if all pairs agree alike."""
    same = np.arange(10.0)[:, None] + 10 + 0.1 * np.arange(6)
    assert step_down(statistics(same)) == pytest.approx([2 / 64] * 10)
    assert fewest_pairs() == 6
    assert [smallest_p(n) for n in (0, 1, 5, 6)] == [1, 1, 0.0625, 0.03125]
    assert (fewest_pairs(0.0625), fewest_pairs(0.0626)) == (6, 5), "a p equal to alpha shows nothing"


def test_a_comparison_that_was_not_made_weakens_no_other() -> None:
    """Its differences are 0, and so is all that chance makes of them; its own p is 1."""
    rows = np.random.default_rng(1).normal(0.7, 1, (2, 8))
    more = np.vstack([rows, np.zeros((3, 8))])
    assert step_down(statistics(more)).tolist() == [*step_down(statistics(rows)), 1, 1, 1]


def test_a_missing_seed_counts_as_no_difference() -> None:
    """Seven pairs of which the other comparison has six: its p is that of its own six pairs."""
    table, there = tabulate({"a": dict.fromkeys(range(7), 1.0), "b": dict.fromkeys(range(6), 1.0)}, range(7))
    assert table.tolist() == [[1.0] * 7, [1.0] * 6 + [0.0]]
    assert there.sum(axis=1).tolist() == [7, 6]
    assert step_down(statistics(table)).tolist() == [2 / 128, 2 / 64]
    assert tabulate({}, range(3))[0].shape == (0, 3)


def test_patterns_of_more_seeds_repeat_those_of_fewer() -> None:
    """The first seeds' sums recur in blocks; so what was rejected early can be carried on."""
    rows = np.random.default_rng(2).normal(size=(1, 6))
    later = rows.copy()
    later[0, 4:] = 0
    for both in (False, True):
        first = flip_sums(rows[:, :4], both_ways=both)
        assert flip_sums(later, both_ways=both).tolist() == np.tile(first, 4).tolist()
        assert first[0, 0] == pytest.approx(rows[0, :4].sum())
        assert first.shape == (1, 16 if both else 8)


def test_above_the_exact_limit_patterns_are_sampled_alike_each_time() -> None:
    """The data are one of them, a pattern and its opposite are one, and p is near the t test's."""
    rows = np.random.default_rng(3).normal(0.4, 1, (2, EXACT_SEEDS + 4))
    found = statistics(rows)
    assert found.shape == (2, SAMPLED)
    assert found[:, 0] == pytest.approx(np.abs(rows.sum(axis=1)) / np.sqrt((rows**2).sum(axis=1)))
    assert (step_down(found) == step_down(statistics(-rows))).all()
    signed = one_sided(rows[:1])
    assert np.mean(signed > 0) == pytest.approx(0.5, abs=0.01)
    assert (statistics(rows[:, :10], of=24)[:, 0] == statistics(rows[:, :10])[:, 0]).all()


def test_what_ties_is_taken_whole_or_not_at_all() -> None:
    values = np.array([3.0, 1.0, 2.0, 2.0, 0.0])
    assert beyond(values, 1).tolist() == [True, False, False, False, False]
    assert beyond(values, 2).tolist() == beyond(values, 1).tolist()
    assert beyond(values, 3).tolist() == [True, False, True, True, False]
    assert (beyond(values, 0).any(), beyond(values, 5).all(), beyond(values[:0], -1).size) == (False, True, 0)
