"""What `reports.statistics` promises: differences paired by seed, verdicts that the runs carry, and sentences."""

import math

import numpy as np
import pytest

from harness.values import HarnessError
from reports.statistics import Comparison, Summary, best_group, compare, paired, summarize
from reports.verdicts import explain

EIGHT = {seed: 92 + 0.1 * seed for seed in range(8)}


def shifted(by: float, spread: float = 0.1, seeds: int = 8) -> dict[int, float]:
    """The baseline's results moved by a mean of exactly `by`, alternating by ± spread (an even number of seeds)."""
    return {seed: EIGHT[seed] + by + spread * (-1) ** seed for seed in range(seeds)}


def only(variant: dict[int, float]) -> Comparison:
    """The comparison of one variant, "group", with the baseline "batch", where 0.5 points matter."""
    (comparison,) = compare({"batch": EIGHT, "group": variant}, "batch", 0.5)
    return comparison


def test_summary_of_several_results_and_of_one():
    assert summarize([1.0, 2.0, 4.5]) == Summary(3, 2.5, math.sqrt(6.5 / 2), 1.0, 4.5)
    assert summarize([91.2]) == Summary(1, 91.2, None, 91.2, 91.2)


def test_differences_are_taken_at_common_seeds_in_their_order():
    differences = paired({8: 5.0, 1: 2.0, 9: 7.0}, {1: 1.5, 2: 0.0, 8: 1.0})
    assert differences.tolist() == [0.5, 4.0]


def test_rounding_makes_no_difference():
    assert paired({0: 0.1 + 0.2}, {0: 0.3}).tolist() == [0.0]
    assert paired({0: 91.01}, {0: 91.0})[0] == pytest.approx(0.01)


@pytest.mark.parametrize(("by", "verdict"), [(1.0, "better"), (-1.0, "worse")])
def test_a_clear_difference_is_shown_with_its_sign(by: float, verdict: str):
    c = only(shifted(by))
    assert (c.verdict, c.n_pairs, c.p_value, c.p_adjusted, c.negligible) == (verdict, 8, 2 / 256, 2 / 256, False)
    assert c.mean_difference == pytest.approx(by)
    assert c.ci_low is not None
    assert c.ci_high is not None
    assert by - 0.2 < c.ci_low < by < c.ci_high < by + 0.2
    assert c.probability_better == (verdict == "better")


def test_equal_recipes_are_equivalent():
    assert only(shifted(0.0)).verdict == "equivalent"
    assert only(dict(EIGHT)).verdict == "equivalent"  # the factor changed nothing at all
    assert only(dict(EIGHT)).p_value == 1.0


def test_equivalence_is_two_one_sided_tests():
    """At 5% each: the 95% interval may reach beyond the smallest difference that matters."""
    c = only({seed: EIGHT[seed] + 0.235 * (seed - 3.5) for seed in range(8)})
    assert (c.verdict, c.p_equivalent < 0.05) == ("equivalent", True)
    assert c.ci_high is not None
    assert c.ci_high > 0.5


def test_a_shown_difference_too_small_to_matter_keeps_its_sign_and_is_marked():
    c = only(shifted(0.2))
    assert (c.verdict, c.negligible) == ("better", True)
    assert "; shown to be less than the 0.5 points that matter." in explain(c)


def test_a_wide_difference_is_not_decided():
    c = only(shifted(0.3, spread=1.0))
    assert (c.verdict, c.negligible) == ("not decided", False)


def test_fewer_than_six_pairs_decide_nothing():
    """Neither a difference of 5 points nor none at all: 5 seeds give no p below 0.0625."""
    for variant in (shifted(5.0, seeds=5), shifted(0.0, spread=0.0, seeds=5)):
        c = only(variant)
        assert (c.verdict, c.n_pairs, c.smallest_p) == ("not decided", 5, 0.0625)
        assert (c.ci_low, c.ci_high, c.detectable_difference) == (None, None, None)


def test_one_pair_knows_only_how_many_could_show_anything():
    """Its spread is unknown, and so what the question needs."""
    c = only({0: 93.0})
    assert (c.n_pairs, c.p_value, c.smallest_p, c.verdict) == (1, 1.0, 1.0, "not decided")
    assert c.seeds_needed is None


def test_a_variant_that_lacks_a_seed_is_tested_by_the_pairs_it_has():
    """Six variants shown by 8 pairs each, and one by its 7: the least p is that of each one's own pairs."""
    names = [f"v{number}" for number in range(5)]
    runs = {"batch": EIGHT, **{name: shifted(1.0) for name in names}, "short": shifted(1.0, seeds=7)}
    made = {c.variant: c for c in compare(runs, "batch", 0.5)}
    assert made["v0"].smallest_p == made["v0"].p_adjusted == 2 / 256
    assert made["short"].smallest_p == made["short"].p_adjusted == 2 / 128
    assert (made["short"].verdict, made["short"].comparisons) == ("better", 6)


def test_differences_that_cancel_are_level_and_rounding_gives_no_sign():
    """73.84 - 73.07 and 73.05 - 73.82 sum to 7e-15."""
    (c,) = compare({"batch": {0: 73.07, 1: 73.82}, "group": {0: 73.84, 1: 73.05}}, "batch", 0.5)
    assert c.mean_difference == 0
    assert explain(c).startswith("Not decided: group came out level with batch, but 2 pairs of seeds cannot show")


def test_all_variants_of_the_report_are_one_family():
    """Six seeds show two differences from a baseline as they show one; noise beside them costs something."""
    runs = {"batch": EIGHT, "group": shifted(1.0, seeds=6), "layer": shifted(-1.0, seeds=6)}
    both = compare(runs, "batch", 0.5)
    assert [(c.variant, c.p_value, c.p_adjusted, c.verdict, c.comparisons) for c in both] == [
        ("group", 1 / 32, 1 / 32, "better", 2),
        ("layer", 1 / 32, 1 / 32, "worse", 2),
    ]
    noise = {seed: EIGHT[seed] + by for seed, by in enumerate((0.5, -0.4, 0.6, -0.5, 0.5, -0.6))}
    weak = {seed: EIGHT[seed] + by for seed, by in enumerate((0.1, 0.9, 0.2, 0.8, 0.1, 0.9))}
    made = {c.variant: c for c in compare({"batch": EIGHT, "weak": weak, "noise": noise}, "batch", 0.5)}
    assert (made["weak"].p_value, made["weak"].verdict) == (1 / 32, "not decided")
    assert made["weak"].p_adjusted > 0.05
    assert made["weak"].ci_low is not None
    assert made["weak"].ci_low <= 0


def test_every_pair_is_one_family_and_names_the_best():
    """Four variants: three comparisons with the baseline first, then the three others; who is beaten is not best."""
    runs = {"batch": EIGHT, "group": shifted(1.0), "layer": shifted(1.0, spread=0.2), "none": shifted(-1.0)}
    made = compare(runs, "batch", 0.5, every_pair=True)
    assert [(c.variant, c.baseline) for c in made] == [
        ("group", "batch"), ("layer", "batch"), ("none", "batch"),
        ("layer", "group"), ("none", "group"), ("none", "layer"),
    ]  # fmt: skip
    assert {c.comparisons for c in made} == {6}
    assert [c.verdict for c in made] == ["better", "better", "worse", "equivalent", "worse", "worse"]
    assert best_group(made, list(runs)) == ("group", "layer")
    assert best_group((), list(runs)) == tuple(runs)


def test_declared_looks_decide_instead_of_one_look():
    """Seven seeds of which all agree are enough at the first look; what is shown at eight alone is not looked at."""
    better = compare({"batch": EIGHT, "group": shifted(1.0, seeds=7)}, "batch", 0.5, looks=(7, 10))[0]
    assert (better.verdict, better.decision and better.decision.seeds) == ("better", 7)
    late = {seed: EIGHT[seed] + by for seed, by in enumerate((-0.1, 0.9, 0.9, 0.3, 1.2, 0.6, 1.1, 1.0))}
    (open_,) = compare({"batch": EIGHT, "group": late}, "batch", 0.5, looks=(7, 10, 14, 20))
    assert only(late).verdict == "better"
    assert (open_.verdict, open_.decision and open_.decision.outcome) == ("not decided", "open")
    assert open_.ci_low == 0


def test_equivalence_is_rarely_claimed_of_a_difference_that_matters():
    """Recipes exactly the smallest difference apart are called equivalent in 5% of cases at most."""
    rng = np.random.default_rng(11)
    claims = 0
    for differences in rng.normal(0.5, 0.2, (400, 8)):
        c = only({seed: EIGHT[seed] + d for seed, d in enumerate(differences)})
        claims += c.negligible
    assert 0.01 < claims / 400 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 400)


def test_the_report_of_the_same_runs_is_the_same():
    rng = np.random.default_rng(2)
    variant = {seed: value + float(rng.normal()) for seed, value in EIGHT.items()}
    assert only(variant) == only(dict(reversed(variant.items())))


def test_the_chance_to_be_ahead_is_of_pairs():
    """Two of three pairs ahead and one level: 2.5 of 3; seven of seven leave a chance from 59%."""
    c = only({0: 93.0, 1: 93.0, 2: EIGHT[2], 99: 0.0})
    assert (c.n_pairs, c.probability_better) == (3, pytest.approx(2.5 / 3))
    assert only(shifted(1.0, seeds=7)).success_low == pytest.approx(0.025 ** (1 / 7))


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"group": {0: 1.0}}, "the baseline 'batch' has no results; run it with the other variants' seeds"),
        (
            {"batch": {0: 1.0, 1: 2.0}, "group": {1: 2.0, 0: float("nan")}},
            "results must be finite; variant 'group', seed 0 has nan: repeat that run, or compare without this variant",
        ),
        (
            {"batch": {0: 1.0, 1: 2.0}, "group": {3: 2.0}},
            "a variant must share seeds with its baseline; 'group' has [3] and 'batch' [0, 1]: "
            "run both with the same seeds",
        ),
    ],
)
def test_results_that_cannot_be_compared(runs: dict[str, dict[int, float]], message: str):
    with pytest.raises(HarnessError) as caught:
        compare(runs, "batch", 0.5)
    assert str(caught.value) == message


def test_a_plan_is_of_the_difference_seen_with_its_uncertainty():
    """Five pairs 28 ± 11 points apart: 6 seeds show that, not "10,000 or more" for the 0.5 that matter; were the spread
    at the end of its own interval (chi-square, 4 degrees of freedom: 2.87 times as large), 13."""
    c = only({seed: EIGHT[seed] + 28 + by for seed, by in enumerate((-14.0, -7.0, 0.0, 7.0, 14.0))})
    assert (c.verdict, c.planned_difference) == ("not decided", pytest.approx(28))
    assert (c.seeds_low, c.seeds_needed, c.seeds_high) == (6, 6, 13)


def test_a_difference_too_small_to_matter_is_not_planned_for():
    """Four pairs 0.01 points apart: what is planned is the smallest difference that matters."""
    c = only({seed: EIGHT[seed] + 0.01 + by for seed, by in enumerate((-0.6, -0.2, 0.2, 0.6))})
    assert c.planned_difference == 0.5
    assert c.seeds_low is not None
    assert c.seeds_needed is not None
    assert c.seeds_high is not None
    assert 6 <= c.seeds_low < c.seeds_needed < c.seeds_high


@pytest.mark.parametrize("pairs", [1, 2, 3])
def test_nothing_is_planned_below_four_pairs(pairs: int):
    """Three pairs 0.3, 0.5 and 1.1 points apart said "about 28 seeds would show 1 point"."""
    c = only({seed: EIGHT[seed] + (0.3, 0.5, 1.1)[seed] for seed in range(pairs)})
    assert (c.seeds_needed, c.seeds_low, c.seeds_high) == (None, None, None)


def test_nothing_is_planned_once_decided():
    assert only(shifted(1.0)).seeds_needed is None
    assert only(shifted(0.0)).seeds_needed is None


def test_equal_differences_have_no_interval():
    """Six pairs 0.3 points apart said "95% interval 0.3 to 0.3"; what decides stays as it was."""
    c = only(shifted(0.3, spread=0.0, seeds=6))
    assert (c.ci_low, c.ci_high, c.all_equal, c.verdict) == (None, None, True, "better")
    assert not only(shifted(0.3, seeds=6)).all_equal
    assert not only({0: 92.3}).all_equal


def test_pairs_that_agree_are_counted():
    """Those that have the sign of the mean: a pair that is level agrees with nobody."""
    assert only({seed: EIGHT[seed] + by for seed, by in enumerate((1.0, -0.2, 0.0, 2.0))}).agreeing == 2
    assert only(shifted(-1.0)).agreeing == 8
    assert only(dict(EIGHT)).agreeing == 0
