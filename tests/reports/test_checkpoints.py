"""What `reports.checkpoints` promises: worked examples, other libraries' answers, and its rates when simulated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.checkpoints import (
    McNemar,
    bootstrap_accuracy_difference,
    expected_calibration_error,
    flips,
    mcnemar,
    reliability,
)


def outcomes(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Two checkpoints' correct images with these counts: twice (images,) bool."""
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


def runs(*rows: str) -> dict[int, np.ndarray]:
    """Seed → (images,) bool from one string a seed, "1" for right."""
    return {seed: np.array([mark == "1" for mark in row]) for seed, row in enumerate(rows)}


def test_mcnemars_worked_example():
    """Children before and after stem cell transplantation (Bentur 2009; Fagerland 2013): 1 against 7, exact p 0.070."""
    assert mcnemar(*outcomes(1, 1, 7, 12)) == McNemar(1, 1, 7, 12, p_value=18 / 256)


def test_checkpoints_that_never_differ_have_p_1():
    assert mcnemar(*outcomes(90, 0, 0, 10)) == McNemar(90, 0, 0, 10, 1.0)


def test_mcnemar_of_ten_thousand_images():
    """60 against 100 images: about the chi-square test's 0.0016."""
    assert mcnemar(*outcomes(9000, 60, 100, 840)).p_value == pytest.approx(0.0016, abs=0.0006)


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(any))
def test_mcnemar_exchanges_with_its_checkpoints(counts: tuple[int, int, int, int]):
    a, b = outcomes(*counts)
    there, back = mcnemar(a, b), mcnemar(b, a)
    assert (there.only_a, there.only_b, there.p_value) == (back.only_b, back.only_a, pytest.approx(back.p_value))
    assert there.both + there.only_a + there.only_b + there.neither == len(a)
    assert 0 <= there.p_value <= 1


def test_interval_over_images_is_the_normal_one_at_ten_thousand():
    """Standard error of a paired difference: sqrt(p_a + p_b - (p_a - p_b)^2) / sqrt(n)."""
    low, high = bootstrap_accuracy_difference(mcnemar(*outcomes(9000, 300, 200, 500)))
    error = 1.96 * np.sqrt((0.03 + 0.02 - 0.01**2) / 10_000)
    assert (low, high) == pytest.approx((0.01 - error, 0.01 + error), abs=4e-4)
    assert (low, high) == bootstrap_accuracy_difference(mcnemar(*outcomes(9000, 300, 200, 500)))


def test_interval_over_images_equals_resampling_the_images():
    a, b = outcomes(150, 20, 10, 20)
    rng = np.random.default_rng(1)
    picks = rng.integers(0, len(a), (10_000, len(a)))
    direct = np.quantile((a[picks].mean(1) - b[picks].mean(1)), [0.05, 0.95])
    assert bootstrap_accuracy_difference(mcnemar(a, b), confidence=0.9) == pytest.approx(tuple(direct), abs=0.006)


def test_interval_of_equal_checkpoints_has_no_width():
    assert bootstrap_accuracy_difference(mcnemar(*outcomes(90, 0, 0, 10))) == (0.0, 0.0)


def test_flips_by_hand():
    """Eight images, three seeds each.

    0 right everywhere, 1 wrong everywhere, 2 surely fixed, 3 surely broken, 4 fixed by majority, 5 broken by majority,
    6 unstable in both but the majority stays, 7 wrong everywhere.
    """
    batch, group = runs("10010110", "10010110", "10010000"), runs("10101010", "10101000", "10100110")
    found = flips(group, batch)
    assert found.surely_fixed.tolist() == [2]
    assert found.surely_broken.tolist() == [3]
    assert found.fixed.tolist() == [2, 4]
    assert found.broken.tolist() == [3, 5]
    # of the pairs of different seeds, each run of "group" with two of "batch": 2 + 3, 2 + 2, 1 + 1
    assert found.fixed_per_pair == pytest.approx(11 / 6)
    # 2 + 1, 3 + 1, 1 + 1
    assert found.broken_per_pair == pytest.approx(9 / 6)
    # an image right in 1 or 2 of 3 runs changes in 2 of 6 ordered pairs: 2 such images in "batch", 3 in "group"
    assert found.by_chance_per_pair == pytest.approx((2 / 3 + 1) / 2)


def test_runs_that_their_seed_alone_decides_differ_by_chance():
    """The same network twice: between different seeds as much changes as between seeds of one variant, not less."""
    a = runs("1100", "1010", "0110")
    found = flips(a, a)
    assert found.fixed_per_pair == found.broken_per_pair == found.by_chance_per_pair == 1.0


def test_flips_between_equal_recipes_are_those_of_chance():
    """Two sets of runs drawn from the same chances per image: fixed, broken and by chance agree within 3%."""
    rng = np.random.default_rng(0)
    chance_right = rng.beta(2, 0.3, 10_000)
    a, b = rng.random((2, 6, 10_000)) < chance_right
    found = flips(dict(enumerate(a)), dict(enumerate(b)))
    assert found.by_chance_per_pair == pytest.approx(np.sum(chance_right * (1 - chance_right)), rel=0.03)
    assert found.fixed_per_pair == pytest.approx(found.by_chance_per_pair, rel=0.03)
    assert found.broken_per_pair == pytest.approx(found.by_chance_per_pair, rel=0.03)


def test_planted_fixes_stand_out_from_chance():
    """A variant that rights 500 images which the baseline always gets wrong: 500 more fixed, none more broken."""
    rng = np.random.default_rng(4)
    chance_right = rng.beta(2, 0.3, 10_000)
    chance_right[:500] = 0
    a, b = rng.random((2, 6, 10_000)) < chance_right
    a[:, :500] = True
    found = flips(dict(enumerate(a)), dict(enumerate(b)))
    assert found.by_chance_per_pair is not None
    assert found.fixed_per_pair - found.by_chance_per_pair == pytest.approx(500, abs=30)
    assert found.broken_per_pair - found.by_chance_per_pair == pytest.approx(0, abs=30)
    assert set(range(500)) <= set(found.surely_fixed.tolist())


def test_a_single_seed_gives_no_expectation():
    found = flips(runs("10"), runs("01"))
    assert found.by_chance_per_pair is None
    assert (found.fixed_per_pair, found.broken_per_pair) == (1.0, 1.0)


def test_half_of_the_runs_is_no_majority():
    found = flips(runs("11", "11"), runs("10", "00"))
    assert (found.fixed.tolist(), found.broken.tolist()) == ([1], [])
    found = flips(runs("00", "00"), runs("10", "11"))
    assert (found.fixed.tolist(), found.broken.tolist()) == ([], [0])


def test_runs_on_other_images_are_refused():
    with pytest.raises(AssertionError, match="all runs must have seen the same images"):
        flips(runs("10"), runs("011"))


def test_calibration_error_by_hand():
    """Two bins: 0.4 sure and right half the time; 0.9 sure and right 3 of 4: (2 * 0.1 + 4 * 0.15) / 6."""
    confidence = np.array([0.4, 0.4, 0.9, 0.9, 0.9, 0.9])
    correct = np.array([True, False, True, True, True, False])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(0.8 / 6)
    curve = reliability(confidence, correct, bins=2)
    assert curve.centre.tolist() == [0.25, 0.75]
    assert curve.confidence.tolist() == pytest.approx([0.4, 0.9])
    assert curve.accuracy.tolist() == [0.5, 0.75]
    assert curve.count.tolist() == [2, 4]


def test_bins_close_above_and_empty_bins_are_nan():
    """As in Guo et al. (2017) a bin holds its upper edge; 0 falls into the first bin."""
    curve = reliability(np.array([0.0, 0.25, 0.5, 1.0], dtype=np.float32), np.array([True] * 4), bins=4)
    assert curve.count.tolist() == [2, 1, 0, 1]
    assert np.isnan(curve.accuracy).tolist() == [False, False, True, False]
    assert np.isnan(curve.confidence).tolist() == [False, False, True, False]


def test_a_calibrated_checkpoint_has_little_error_and_a_sure_one_much():
    rng = np.random.default_rng(8)
    confidence = rng.uniform(0.1, 1, 50_000)
    correct = rng.random(50_000) < confidence
    assert expected_calibration_error(confidence, correct) < 0.01
    assert expected_calibration_error(np.ones(50_000), correct) == pytest.approx(1 - correct.mean())
