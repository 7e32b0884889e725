"""What `reports.inference` promises: published worked examples, SciPy's own answers, and its rates when simulated."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.inference import (
    MOST_SEEDS,
    bca_interval,
    correlation_interval,
    detectable_difference,
    fewest_pairs,
    holm,
    probability_of_superiority,
    ratio_interval,
    seeds_needed,
    sign_flip_p,
    sign_flip_power,
    smallest_p,
    spread_interval,
    t_power,
)

# Darwin's cross- and self-fertilised maize, differences in eighths of an inch (Fisher 1935, §17 and §21)
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

hundredths = st.lists(st.integers(-300, 300).map(lambda steps: steps / 100), min_size=1, max_size=10)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def rejections(effect: float, n: int, simulations: int, alpha: float = 0.05) -> float:
    """Share of simulated experiments of n normal differences that the sign-flip test rejects."""
    draws = np.random.default_rng(n).normal(effect, 1, (simulations, n))
    return float(np.mean([sign_flip_p(differences) < alpha for differences in draws]))


def test_fishers_maize_example():
    """Fisher counted 863 of 32,768 patterns on one side: 5.267% on both."""
    assert sign_flip_p(MAIZE) == pytest.approx(2 * 863 / 32768, abs=1e-12)


@pytest.mark.parametrize(("n", "expected"), [(1, 1.0), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_smallest_p_is_the_table_and_is_attained(n: int, expected: float):
    assert smallest_p(n) == expected
    assert sign_flip_p(np.arange(1, n + 1)) == expected


def test_smallest_p_after_holm_grows_with_the_comparisons():
    """With two variants against a baseline 6 pairs can no longer show anything; 7 can."""
    assert smallest_p(6, comparisons=2) == 0.0625
    assert smallest_p(7, comparisons=2) == 0.03125
    assert smallest_p(1, comparisons=3) == 1.0


def test_equal_results_give_p_1():
    assert sign_flip_p([0.0, 0.0, 0.0, 0.0, 0.0, 0.0]) == 1.0


def test_rounding_decides_no_tie():
    """0.1 + 0.2 - 0.3 is 5.6e-17 in floats: patterns whose sums are equal in decimals count as equal."""
    assert sign_flip_p([0.1, 0.2, -0.3]) == sign_flip_p([1, 2, -3]) == 1.0
    assert sign_flip_p([0.1, 0.2, 0.3, -0.3]) == sign_flip_p([1, 2, 3, -3])


@pytest.mark.parametrize("n", [4, 7, 9])
def test_sign_flip_equals_scipys_exact_test(n: int):
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    theirs = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=2**n)
    assert sign_flip_p(differences) == pytest.approx(float(theirs.pvalue), abs=1e-12)


def test_sampled_patterns_agree_with_the_t_test_and_repeat():
    """Above 20 differences patterns are sampled: two calls agree exactly, and normal data give nearly t's p."""
    differences = np.random.default_rng(1).normal(0.2, 1, 24)
    statistic = differences.mean() / differences.std(ddof=1) * math.sqrt(24)
    p = sign_flip_p(differences)
    assert p == sign_flip_p(differences)
    assert p == pytest.approx(2 * stats.t.sf(abs(statistic), 23), abs=0.01)
    assert 0.01 < p < 0.5


@settings(deadline=None)
@given(hundredths)
def test_sign_flip_ignores_direction_and_order(differences: list[float]):
    p = sign_flip_p(differences)
    assert p == sign_flip_p([-d for d in differences]) == sign_flip_p(differences[::-1])
    assert smallest_p(len(differences)) <= p <= 1


@pytest.mark.parametrize(("n", "attainable"), [(6, 2 / 64), (8, 12 / 256), (10, 50 / 1024)])
def test_sign_flip_rejects_at_its_attainable_rate_without_a_difference(n: int, attainable: float):
    """The greatest multiple of 2^(1-n) below 0.05 is the rate; 4 standard errors of 4,000 simulations are allowed."""
    allowed = 4 * math.sqrt(attainable * (1 - attainable) / 4000)
    assert rejections(0.0, n, 4000) == pytest.approx(attainable, abs=allowed)


def test_holm_keeps_the_familywise_rate():
    """Three variants equal to one baseline, 8 seeds: any of them is called different at most 5% of the time."""
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(2000):
        runs = rng.normal(0, 1, (4, 8))
        wrong += min(holm([sign_flip_p(variant - runs[0]) for variant in runs[1:]])) < 0.05
    assert 0.005 < wrong / 2000 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 2000)


def test_planted_difference_is_found_as_often_as_planned():
    """0.5 points at a spread of differences of 0.4: planned power against simulated power.

    With 6 pairs the plan is exact. From 7 on it is the t test's power at the attainable level, and the sign-flip test
    loses a little of it (2 points at 7 and 8 pairs, nothing to see at 10).
    """
    for n, allowed in ((6, 0.03), (7, 0.05), (8, 0.05), (10, 0.03), (13, 0.03)):
        planned = sign_flip_power(0.5 / 0.4, n)
        assert rejections(0.5 / 0.4, n, 1500) == pytest.approx(planned, abs=allowed), n


def test_a_difference_sought_with_too_few_pairs_is_never_found():
    assert sign_flip_power(50.0, 5) == 0.0
    assert sign_flip_power(50.0, 6) == pytest.approx(1.0)
    assert sign_flip_power(50.0, 6, alpha=0.05 / 2) == 0.0  # two comparisons: Holm's first step
    assert detectable_difference(0.2, 5) is None
    assert detectable_difference(0.2, 6, alpha=0.05 / 2) is None


def test_planned_power_is_that_of_the_attainable_levels():
    """7 pairs reach p = 2/64 and 3/64 and nothing between; a p equal to alpha does not reject."""
    assert sign_flip_power(1.0, 7, alpha=0.034) == sign_flip_power(1.0, 7, alpha=0.046)
    assert sign_flip_power(1.0, 7, alpha=0.046) < sign_flip_power(1.0, 7, alpha=0.05)
    assert sign_flip_power(50.0, 5, alpha=0.0625) == 0.0
    assert sign_flip_power(50.0, 5, alpha=0.0626) == pytest.approx(1.0)


@pytest.mark.parametrize(("difference", "arm"), [(0.5, 4), (0.3, 9), (0.2, 17), (0.1, 64)])
def test_unpaired_seeds_an_arm(difference: float, arm: int):
    """At a spread of 0.2 points, 80% power: the least n whose two-sample t test has it."""

    def power(n: int) -> float:
        return t_power(difference / 0.2 * math.sqrt(n / 2), 2 * n - 2)

    assert power(arm - 1) < 0.8 <= power(arm)


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_paired_t_power_table(effect: float, pairs: int):
    """Pairs for 80% power at Cohen's small, medium and large effect, as G*Power 3.1 gives them."""
    assert t_power(effect * math.sqrt(pairs - 1), pairs - 2) < 0.8 <= t_power(effect * math.sqrt(pairs), pairs - 1)
    assert seeds_needed(1.0, effect) == pairs


def test_seeds_needed_is_the_first_that_suffices():
    for difference in (1.0, 0.5, 0.3, 0.25, 0.1):
        n = seeds_needed(0.3, difference)
        assert sign_flip_power(difference / 0.3, n) >= 0.8 > sign_flip_power(difference / 0.3, n - 1)


def test_seeds_needed_has_a_floor_and_a_cap():
    assert seeds_needed(0.0, 0.5) == seeds_needed(0.01, 0.5) == 6
    assert seeds_needed(0.01, 0.5, alpha=0.05 / 3) == 7
    assert seeds_needed(10.0, 0.001) == MOST_SEEDS


@pytest.mark.parametrize("n", [6, 7, 10, 40])
def test_detectable_difference_has_the_power_asked_for(n: int):
    difference = detectable_difference(0.25, n, power=0.9)
    assert difference is not None
    assert sign_flip_power(difference / 0.25, n) == pytest.approx(0.9, abs=1e-6)
    assert detectable_difference(0.5, n, power=0.9) == pytest.approx(2 * difference)


@pytest.mark.parametrize("n", [6, 10])
def test_interval_covers_the_true_mean(n: int):
    """A 95% interval of 6 or 10 normal differences covers the truth 91 to 98% of the time; plain BCa 87 and 90%."""
    draws = np.random.default_rng(n).normal(0.3, 0.2, (700, n))
    intervals = [bca_interval(differences, resamples=1000) for differences in draws]
    covered = np.mean([i is not None and i[0] <= 0.3 <= i[1] for i in intervals])
    assert 0.91 <= covered <= 0.98


def test_interval_is_scipys_bca_at_the_widened_level():
    """With 40 differences the widening is slight, and Student's interval is near."""
    differences = np.random.default_rng(5).normal(0.3, 0.2, 40)
    interval = bca_interval(differences)
    assert interval is not None
    student = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    plain = stats.bootstrap((differences,), np.mean, method="BCa", rng=np.random.default_rng(0)).confidence_interval
    assert interval == pytest.approx((student.low, student.high), abs=0.01)
    assert interval == pytest.approx((plain.low, plain.high), abs=0.01)
    assert interval[1] - interval[0] > plain.high - plain.low


def test_interval_needs_as_many_pairs_as_the_test():
    """5 pairs give no 95% interval, as they give no p below 0.05; they do give a 90% interval."""
    assert bca_interval([1.0]) is None
    assert bca_interval([1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert bca_interval([1.0, 2.0, 3.0, 4.0, 5.0], confidence=0.9) is not None
    assert bca_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) is not None


def test_interval_of_constant_differences_has_no_width():
    assert bca_interval([0.0] * 6) == (0.0, 0.0)
    assert bca_interval([0.3, 0.1 + 0.2, 0.3, 0.3, 0.3, 0.3]) == pytest.approx((0.3, 0.3))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-300, 300), min_size=6, max_size=9))
def test_interval_lies_within_the_range_and_ignores_order(steps: list[int]):
    """No input makes it nan or warn (warnings are errors here)."""
    differences = np.array(steps) / 100
    interval = bca_interval(differences, resamples=500)
    assert interval is not None
    assert differences.min() - 1e-9 <= interval[0] <= interval[1] <= differences.max() + 1e-9
    assert interval == bca_interval(differences[::-1], resamples=500)


def test_holms_worked_example():
    """R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([]) == ()


@given(p_values)
def test_holm_is_monotone_between_raw_and_bonferroni(values: list[float]):
    adjusted = holm(values)
    assert all(p <= q <= min(1, len(values) * p) for p, q in zip(values, adjusted, strict=True))
    ranked = [adjusted[i] for i in sorted(range(len(values)), key=lambda i: values[i])]
    assert ranked == sorted(ranked)


@given(p_values)
def test_holm_follows_the_order_given(values: list[float]):
    assert holm(values[::-1]) == holm(values)[::-1]


def test_probability_of_superiority_is_mann_whitneys_u():
    rng = np.random.default_rng(7)
    values, baseline = rng.integers(0, 8, 9).tolist(), rng.integers(0, 8, 6).tolist()
    theirs = stats.mannwhitneyu(values, baseline).statistic / 54
    assert probability_of_superiority(values, baseline) == pytest.approx(theirs)
    assert probability_of_superiority([3, 4], [1, 2]) == 1.0
    assert probability_of_superiority([0.1 + 0.2], [0.3]) == 0.5


@pytest.mark.parametrize(("comparisons", "pairs"), [(0, 6), (1, 6), (2, 7), (3, 7), (4, 8), (6, 8), (7, 9)])
def test_the_fewest_pairs_are_those_that_reach_significance(comparisons: int, pairs: int):
    """With one fewer the smallest p after Holm is 0.05 or above, whatever the difference."""
    assert fewest_pairs(comparisons) == pairs
    assert smallest_p(pairs, max(1, comparisons)) < 0.05 <= smallest_p(pairs - 1, max(1, comparisons))


def test_the_spreads_interval_covers_the_true_spread():
    """Five normal values: 0.6 to 2.87 times their spread, and 95% of such intervals hold the true one."""
    assert spread_interval(1.0, 5) == pytest.approx((0.599, 2.874), abs=0.001)
    spreads = np.random.default_rng(3).normal(0, 2, (2_000, 5)).std(axis=1, ddof=1)
    held = [low < 2 < high for low, high in (spread_interval(float(spread), 5) for spread in spreads)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_a_ratios_interval_is_welchs_of_its_logarithms():
    """SciPy's own interval of the unpaired test on logarithms; a single value has none, equal ones no width."""
    ours, base = np.array([318.0, 392.0, 418.0, 252.0]), np.array([517.0, 414.0, 610.0, 460.0, 340.0])
    made = ratio_interval(ours, base)
    assert made is not None
    theirs = stats.ttest_ind(np.log(ours), np.log(base), equal_var=False).confidence_interval(0.95)
    assert made[1:] == pytest.approx((math.exp(theirs.low), math.exp(theirs.high)))
    assert made[0] == pytest.approx(stats.gmean(ours) / stats.gmean(base))
    assert ratio_interval([2.0], [1.0, 2.0]) is None
    assert ratio_interval([2.0, 2.0], [1.0, 1.0]) == pytest.approx((2, 2, 2))


def test_a_correlations_interval_is_scipys():
    """Fisher's z, as SciPy has it; a perfect correlation is its own interval."""
    x = np.array([0.1, 0.5, 0.2, 0.9, 0.4, 0.7, 0.3])
    y = np.array([0.3, 0.4, 0.1, 0.8, 0.9, 0.5, 0.2])
    theirs = stats.pearsonr(x, y)
    interval = theirs.confidence_interval(0.95)
    assert correlation_interval(float(np.corrcoef(x, y)[0, 1]), 7) == pytest.approx((interval.low, interval.high))
    assert correlation_interval(1.0, 4) == (1.0, 1.0)
