"""What `reports.inference` promises: published worked examples, SciPy's own answers, and its rates when simulated."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.evidence.signs import smallest_p, statistics, step_down
from reports.inference import (
    MOST_SEEDS,
    correlation_interval,
    detectable_difference,
    equivalence_p,
    ratio_interval,
    rope,
    seeds_needed,
    sign_flip_p,
    sign_flip_power,
    spread_interval,
    success_interval,
    t_power,
)

# Darwin's cross- and self-fertilised maize, differences in eighths of an inch (Fisher 1935, §17 and §21)
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

hundredths = st.lists(st.integers(-300, 300).map(lambda steps: steps / 100), min_size=1, max_size=10)


def rejections(effect: float, n: int, simulations: int, alpha: float = 0.05) -> float:
    """Share of simulated experiments of n normal differences that the sign-flip test rejects."""
    draws = np.random.default_rng(n).normal(effect, 1, (simulations, n))
    return float(np.mean([sign_flip_p(differences) < alpha for differences in draws]))


def test_fishers_maize_example():
    """Fisher counted 863 of 32,768 patterns on one side: 5.267% on both."""
    assert sign_flip_p(MAIZE) == pytest.approx(2 * 863 / 32768, abs=1e-12)


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


def accuracies(n: int, mean: float, images: int) -> np.ndarray:
    """n differences of accuracies over so many images, in points."""
    return 100 * np.rint(np.random.default_rng(n).normal(mean, 0.5, n) * images / 100) / images


@pytest.mark.parametrize(("n", "images"), [(21, 359), (24, 10_000), (60, 359)])
def test_above_twenty_accuracies_have_their_exact_p(n: int, images: int):
    """A convolution over the steps of 1 / images: nearly t's p, the same for d and -d and in any order."""
    differences = accuracies(n, 0.15, images)
    p = sign_flip_p(differences)
    assert p == sign_flip_p(-differences) == sign_flip_p(differences[::-1])
    assert p == pytest.approx(float(tuple(stats.ttest_1samp(differences, 0))[1]), abs=0.02)
    assert 0.001 < p < 0.5


def test_the_convolution_is_the_count_of_all_patterns():
    """Twenty differences by all 2^20 patterns; the same and a pair that is level, by the convolution."""
    differences = accuracies(20, 0.2, 359)
    assert sign_flip_p([*differences, 0.0]) == pytest.approx(sign_flip_p(differences), abs=1e-12)
    assert sign_flip_p(np.zeros(30)) == 1.0
    assert sign_flip_p(np.ones(21)) == 2.0**-20


def test_differences_without_a_step_are_sampled_and_repeat():
    """Above 20 differences that are no accuracies: two calls agree exactly, and normal data give nearly t's p."""
    differences = np.random.default_rng(1).normal(0.2, 1, 24)
    p = sign_flip_p(differences)
    assert p == sign_flip_p(differences)
    assert p == pytest.approx(float(tuple(stats.ttest_1samp(differences, 0))[1]), abs=0.01)


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


def test_planted_difference_is_found_as_often_as_planned():
    """0.5 points at a spread of differences of 0.4: planned power against simulated power.

    With 6 pairs the plan is exact. From 7 on it is the t test's power at the attainable level, and the sign-flip test
    loses a little of it (2 points at 7 and 8 pairs, nothing to see at 10).
    """
    for n, allowed in ((6, 0.03), (7, 0.05), (8, 0.05), (10, 0.03), (13, 0.03)):
        planned = sign_flip_power(0.5 / 0.4, n)
        assert rejections(0.5 / 0.4, n, 1500) == pytest.approx(planned, abs=allowed), n


@pytest.mark.parametrize(
    ("n", "comparisons", "effect", "off"), [(6, 3, 1.5, 0.12), (7, 3, 1.8, 0.07), (8, 6, 1.5, 0.07), (10, 3, 1.2, 0.07)]
)
def test_the_plan_for_several_comparisons_is_near_the_joint_test(n: int, comparisons: int, effect: float, off: float):
    """One variant of several differs: its power by the formula, and simulated, with a common baseline."""
    draws = np.random.default_rng(n).normal(0, 1, (600, comparisons + 1, n))
    found = (draws[:, 1:] - draws[:, :1]) / math.sqrt(2)
    found[:, 0] += effect
    simulated = np.mean([step_down(statistics(rows))[0] < 0.05 for rows in found])
    assert simulated == pytest.approx(sign_flip_power(effect, n, comparisons), abs=off)


def test_a_difference_sought_with_too_few_pairs_is_never_found():
    assert sign_flip_power(50.0, 5) == sign_flip_power(50.0, 5, comparisons=6) == 0.0
    assert sign_flip_power(50.0, 6) == pytest.approx(1.0)
    assert sign_flip_power(50.0, 6, comparisons=6) > 0.99, "more comparisons need no more seeds"
    assert detectable_difference(0.2, 5) is None
    assert detectable_difference(0.2, 6, comparisons=6) is not None


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
    assert seeds_needed(0.01, 0.5, comparisons=6) == 6
    assert seeds_needed(10.0, 0.001) == MOST_SEEDS


@pytest.mark.parametrize("n", [6, 7, 10, 40])
def test_detectable_difference_has_the_power_asked_for(n: int):
    difference = detectable_difference(0.25, n, power=0.9)
    assert difference is not None
    assert sign_flip_power(difference / 0.25, n) == pytest.approx(0.9, abs=1e-6)
    assert detectable_difference(0.5, n, power=0.9) == pytest.approx(2 * difference)


def equivalent(differences: list[list[float]], margin: float, there: np.ndarray | None = None) -> list[float]:
    rows = np.array(differences)
    return equivalence_p(rows, np.ones(rows.shape, dtype=bool) if there is None else there, margin).tolist()


def test_equal_results_are_as_equivalent_as_so_many_pairs_can_show():
    """One of 2^n patterns is as far within; to differ by just the margin, or more, is never equivalent."""
    assert equivalent([[0.0] * 6], 0.5) == [1 / 64]
    assert equivalent([[0.5] * 6], 0.5) == equivalent([[-0.5] * 6], 0.5) == [1.0]
    assert equivalent([[0.9] * 6], 0.5) == [1.0]


def test_equivalence_is_two_one_sided_tests():
    """Of one comparison, the p on the nearer side: Fisher's count of the patterns that lie as far within."""
    near = [0.3, 0.1, 0.4, -0.1, 0.2, 0.3, 0.6]
    patterns = np.array(np.meshgrid(*[[1, -1]] * 7)).reshape(7, -1)
    sums = patterns.T @ (0.5 - np.array(near))
    by_hand = np.mean(sums >= sum(0.5 - d for d in near) - 1e-9)
    assert equivalent([near], 0.5) == pytest.approx([by_hand])
    assert equivalent([[-d for d in near]], 0.5) == pytest.approx([by_hand])


def test_equivalence_is_corrected_for_all_comparisons():
    """And neither a missing pair nor a comparison without any counts as one that is level."""
    rows = np.random.default_rng(3).normal(0.2, 0.35, (3, 8)).tolist()
    each, together = [equivalent([row], 0.5)[0] for row in rows], equivalent(rows, 0.5)
    assert all(p >= alone for p, alone in zip(together, each, strict=True))
    assert sum(together) > 1.3 * sum(each)
    alone = each[0]
    there = np.array([[True] * 8, [False] * 8])
    assert equivalent([rows[0], [0.0] * 8], 0.5, there) == [alone, 1.0]
    there = np.array([[True] * 7 + [False]])
    assert equivalent([[*rows[0][:7], 0.0]], 0.5, there) == equivalent([rows[0][:7]], 0.5)


@pytest.mark.parametrize(("wins", "pairs"), [(7, 7), (0, 7), (5, 8)])
def test_the_chance_of_success_has_scipys_interval(wins: int, pairs: int):
    theirs = stats.binomtest(wins, pairs).proportion_ci(method="exact")
    assert success_interval(wins, pairs) == pytest.approx((theirs.low, theirs.high))


def test_ties_count_half_for_success():
    low, high = success_interval(3.5, 7)
    assert low == pytest.approx(1 - high)
    assert success_interval(3, 7)[0] < low < success_interval(4, 7)[0]


def test_posterior_probabilities_are_those_of_the_bayesian_t_test():
    """Student's t with n - 1 degrees about the mean; the three probabilities are all there is."""
    differences = [0.2, 0.9, 0.4, 1.1, 0.7, 0.3]
    worse, same, better = rope(differences, 0.5)
    standard = (np.mean(differences) - 0.5) / (np.std(differences, ddof=1) / math.sqrt(6))
    assert better == pytest.approx(float(stats.t.cdf(standard, 5)))
    assert worse + same + better == pytest.approx(1)
    assert rope([-d for d in differences], 0.5) == pytest.approx((better, same, worse))


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
