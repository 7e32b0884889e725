"""Intervals follow from the test that decides: they leave 0 out exactly where a difference is shown."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.evidence.signs import statistics, step_down
from reports.inference import sign_flip_p
from reports.intervals import intervals

tables = st.integers(1, 5).flatmap(
    lambda rows: st.lists(st.lists(st.integers(-40, 90), min_size=rows, max_size=rows), min_size=6, max_size=9).map(
        lambda columns: np.array(columns, dtype=float).T / 100
    )
)


def found(rows: np.ndarray, there: np.ndarray | None = None) -> tuple[np.ndarray, list[tuple[float, float] | None]]:
    """The joint test's p-values, and the intervals that go with them."""
    p_values = step_down(statistics(rows))
    whole = np.ones(rows.shape, dtype=bool) if there is None else there
    return p_values, intervals(rows, whole, [bool(p < 0.05) for p in p_values])


@settings(deadline=None, max_examples=150)
@given(tables)
def test_an_interval_leaves_0_out_exactly_where_a_difference_is_shown(rows: np.ndarray) -> None:
    """Results on a grid, so that patterns tie; no input makes it nan or warn (warnings are errors here)."""
    p_values, made = found(rows)
    for row, p_value, interval in zip(rows, p_values, made, strict=True):
        assert interval is not None
        low, high = interval
        assert min(0, row.min()) - 1e-12 <= low <= row.mean() + 1e-12
        assert row.mean() - 1e-12 <= high <= max(0, row.max()) + 1e-12
        assert (low > 0 or high < 0) == (p_value < 0.05)


@settings(deadline=None, max_examples=100)
@given(tables, st.data())
def test_missing_pairs_change_nothing_of_that(rows: np.ndarray, data: st.DataObject) -> None:
    """A comparison with fewer than six pairs has no interval, and shows no difference."""
    there = np.array(data.draw(st.lists(st.lists(st.booleans(), min_size=rows.shape[1], max_size=rows.shape[1]),
                                        min_size=len(rows), max_size=len(rows))))  # fmt: skip
    p_values, made = found(np.where(there, rows, 0), there)
    for p_value, interval, pairs in zip(p_values, made, there.sum(axis=1), strict=True):
        assert (interval is None) or pairs >= 6
        if interval:
            assert (interval[0] > 0 or interval[1] < 0) == (p_value < 0.05)
        else:
            assert p_value >= 0.05


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-300, 300), min_size=6, max_size=9))
def test_of_a_single_comparison_the_interval_holds_what_the_test_does_not_reject(steps: list[int]) -> None:
    """Just outside either end the test rejects, just inside it does not."""
    array = np.array(steps) / 100
    _, (interval,) = found(array[None])
    assert interval is not None
    for end, outwards in zip(interval, (-1, 1), strict=True):
        assert sign_flip_p(array - end) >= 0.05
        assert sign_flip_p(array - end - outwards * 1e-4) < 0.05


def test_six_and_seven_pairs_by_hand() -> None:
    """Of 32 patterns one may reach as far (0.03): the interval is the range. Of 64 three may: the
    third smallest mean of some differences is 2, after 1 and 1.5; the third largest 7, after 9 and 7.5."""
    six = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 9.0])
    assert found(six[None])[1] == [(1.0, 9.0)]
    seven = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 9.0])
    assert found(seven[None])[1] == [(2.0, 7.0)]
    assert found(six[None, :5])[1] == [None]


def test_several_comparisons_widen_each_others_intervals() -> None:
    """And a comparison without runs widens none."""
    rows = np.random.default_rng(3).normal(0.3, 1, (4, 10))
    (alone,), together = found(rows[:1])[1], found(rows)[1][0]
    assert alone is not None
    assert together is not None
    assert together[0] < alone[0]
    assert together[1] > alone[1]
    assert found(np.vstack([rows[:1], np.zeros((2, 10))]))[1][0] == alone


def test_an_interval_gives_way_to_what_decides() -> None:
    """Looks that have not spent enough show nothing yet: then 0 lies within, at the interval's end."""
    row, there = np.array([[-0.2, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]]), np.ones((1, 7), dtype=bool)
    (late,), (early,) = intervals(row, there, [True]), intervals(row, there, [False])
    assert late is not None
    assert early is not None
    assert late[0] > 0
    assert early == (0, late[1])
    assert intervals(np.array([[1.0, -1.0, 2.0, -1.0, 1.0, -1.5]]), there[:, :6], [True]) == [None]


def test_beyond_twenty_pairs_sampled_patterns_follow_the_exact_p() -> None:
    """Whichever side of 0.05 the exact p falls on, the interval is on the same."""
    rng = np.random.default_rng(1)
    for _ in range(12):
        row = np.rint(100 * rng.normal(0.42, 1, 24))[None] / 100
        shown = sign_flip_p(row[0]) < 0.05
        (interval,) = intervals(row, np.ones((1, 24), dtype=bool), [shown])
        assert interval is not None
        assert (interval[0] > 0 or interval[1] < 0) == shown
