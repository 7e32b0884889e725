"""The sentences on one comparison say what its runs show and can show, where it is so and nowhere else."""

from dataclasses import replace

import pytest

from harness.evidence.looks import Decision
from reports.statistics import Comparison
from reports.verdicts import explain, measured

WORSE = Comparison(
    variant="group",
    baseline="batch",
    n_pairs=6,
    mean_difference=-1.6,
    ci_low=-1.9,
    ci_high=-1.3,
    p_value=0.03125,
    p_adjusted=0.03125,
    p_equivalent=1.0,
    probability_better=0.0,
    success_low=0.0,
    success_high=0.46,
    smallest_p=0.03125,
    smallest_difference=0.5,
    detectable_difference=0.4,
    seeds_needed=None,
    seeds_low=None,
    seeds_high=None,
    comparisons=1,
    agreeing=6,
    all_equal=False,
    negligible=False,
    verdict="worse",
)
CHANCE = replace(
    WORSE,
    mean_difference=0.3,
    ci_low=-0.2,
    ci_high=0.7,
    p_adjusted=0.31,
    agreeing=4,
    seeds_needed=9,
    seeds_low=7,
    seeds_high=30,
    verdict="not decided",
)
FEW = replace(
    CHANCE,
    n_pairs=3,
    ci_low=None,
    ci_high=None,
    smallest_p=0.25,
    detectable_difference=None,
    agreeing=2,
    seeds_needed=None,
    seeds_low=None,
    seeds_high=None,
)
FIVE = replace(CHANCE, n_pairs=5, ci_low=None, ci_high=None, smallest_p=0.0625, detectable_difference=None)
START = "Not decided: group came out 0.3 points above batch, "


@pytest.mark.parametrize(
    ("comparison", "sentences"),
    [
        (
            WORSE,
            "group is 1.6 points worse than batch (95% interval −1.9 to −1.3, p = 0.031, 6 pairs of seeds). "
            "All 6 of 6 pairs agree in sign: this p is the least that 6 pairs can give.",
        ),
        (
            replace(WORSE, n_pairs=7, agreeing=7, comparisons=3, p_adjusted=1 / 64, smallest_p=1 / 64),
            "group is 1.6 points worse than batch (95% interval −1.9 to −1.3, p = 0.016 corrected for 3 comparisons, "
            "7 pairs of seeds). All 7 of 7 pairs agree in sign: this p is the least that 7 pairs can give.",
        ),
        (
            replace(WORSE, n_pairs=10, agreeing=9, comparisons=2, p_adjusted=51 / 1024, smallest_p=2 / 1024),
            "group is 1.6 points worse than batch (95% interval −1.9 to −1.3, p = 0.0498 corrected for 2 comparisons, "
            "10 pairs of seeds).",
        ),
        (
            replace(WORSE, n_pairs=7, agreeing=7, comparisons=2, p_adjusted=0.031, smallest_p=0.016),
            "group is 1.6 points worse than batch (95% interval −1.9 to −1.3, p = 0.031 corrected for 2 comparisons, "
            "7 pairs of seeds). All 7 of 7 pairs agree in sign.",
        ),
        (
            replace(WORSE, decision=Decision("group", "worse", 7, 0.47, "shown at the look at 7 seeds")),
            "group is 1.6 points worse than batch (95% interval −1.9 to −1.3, p = 0.031 at one look, 6 pairs of "
            "seeds). All 6 of 6 pairs agree in sign: this p is the least that 6 pairs can give. "
            "Shown at the look at 7 seeds.",
        ),
        (
            replace(
                CHANCE, p_adjusted=0.04, decision=Decision("group", "open", 7, 0.47, "the next look is at 10 seeds")
            ),
            "Not decided: group came out 0.3 points above batch (p = 0.04 at one look, 6 pairs of seeds). "
            "The next look is at 10 seeds.",
        ),
        (
            replace(WORSE, ci_low=None, ci_high=None, all_equal=True),
            "group is 1.6 points worse than batch (p = 0.031, 6 pairs of seeds). "
            "All 6 pairs differ by the same 1.6 points, so there is no interval.",
        ),
        (
            CHANCE,
            START + "which chance can explain (p = 0.31, 6 pairs of seeds). "
            "To show a difference of 0.5 points takes about 9 pairs. "
            "As 6 pairs leave the spread uncertain, it may be 7 to 30.",
        ),
        (
            replace(CHANCE, verdict="equivalent", negligible=True, p_equivalent=0.02, seeds_needed=None),
            "group and batch are equivalent: shown to differ by less than 0.5 points (p = 0.02, 6 pairs of seeds).",
        ),
        (
            replace(CHANCE, verdict="equivalent", mean_difference=0.0, p_equivalent=1 / 64, all_equal=True),
            "group and batch are equivalent: shown to differ by less than 0.5 points (p = 0.016, 6 pairs of seeds). "
            "All 6 pairs differ by 0 points, so there is no interval.",
        ),
        (
            replace(CHANCE, seeds_needed=6, mean_difference=-0.3),
            "Not decided: group came out 0.3 points below batch, which chance can explain (p = 0.31, 6 pairs of "
            "seeds). So many pairs find a true difference of 0.4 points four times in five.",
        ),
        (
            FEW,
            START + "but 3 pairs of seeds cannot show any difference. It takes at least 6 pairs.",
        ),
        (
            replace(FEW, agreeing=3, comparisons=3),
            START + "but 3 pairs of seeds cannot show any difference. All 3 of 3 pairs agree in sign. "
            "It takes at least 6 pairs.",
        ),
        (
            replace(FEW, n_pairs=1, agreeing=1, smallest_p=1.0),
            START + "but 1 pair of seeds cannot show any difference. It takes at least 6 pairs.",
        ),
        (
            FIVE,
            START + "but 5 pairs of seeds cannot show any difference. It takes at least 6 pairs. "
            "To show a difference of 0.5 points takes about 9 pairs. "
            "As 5 pairs leave the spread uncertain, it may be 7 to 30.",
        ),
        (
            replace(FIVE, mean_difference=28.0, seeds_needed=7, seeds_low=6, seeds_high=10_000),
            "Not decided: group came out 28 points above batch, but 5 pairs of seeds cannot show any difference. "
            "It takes at least 6 pairs. To show a difference of 28 points, as seen here, takes about 7 pairs. "
            "As 5 pairs leave the spread uncertain, it may be 6 to 10,000 or more.",
        ),
        (
            replace(FIVE, mean_difference=1.0, agreeing=5, all_equal=True, seeds_needed=6, seeds_low=6, seeds_high=6),
            "Not decided: group came out 1 point above batch, but 5 pairs of seeds cannot show any difference. "
            "All 5 pairs differ by the same 1 point, so there is no interval. It takes at least 6 pairs.",
        ),
        (
            replace(FEW, n_pairs=2, mean_difference=0.0, agreeing=0),
            "Not decided: group came out level with batch, but 2 pairs of seeds cannot show any difference. "
            "It takes at least 6 pairs.",
        ),
    ],
)
def test_sentences(comparison: Comparison, sentences: str):
    """Every verdict with its evidence, agreement where there is any, and a plan only while nothing is decided."""
    assert explain(comparison) == sentences


@pytest.mark.parametrize(("value", "said"), [(1.0, "1 point"), (0.5, "0.5 points"), (12.3, "12 points")])
def test_one_point_is_singular(value: float, said: str):
    assert measured(value) == said
