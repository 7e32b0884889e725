"""What make plan says of a design's seeds: nothing can be shown, or how much, by the spread of what is recorded."""

from pathlib import Path

import pytest

from harness.plans import catalog
from harness.plans.experiment import Experiment
from reports.designed import lines
from reports.measured import Measured

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return catalog.load("quickstart", ROOT)


@pytest.mark.parametrize(
    ("seeds", "variants", "said"),
    [
        ("", "", "seeds: 3 pairs cannot show any difference, whatever comes out; it takes 6"),
        ("1", "", "seeds: 1 pair cannot show any difference, whatever comes out; it takes 6"),
        ("4,5", "batch,group", "seeds: 2 pairs cannot show any difference, whatever comes out; it takes 6"),
        ("9", "batch", "seeds: one variant alone decides nothing; its mean and spread are all that it shows"),
    ],
)
def test_a_design_that_cannot_decide_says_so(experiment: Experiment, seeds: str, variants: str, said: str) -> None:
    """Before anything is trained, and refuses nothing."""
    assert lines(experiment, seeds, variants, []) == [said]


def test_the_recorded_spread_says_how_small_a_difference_shows(experiment: Experiment) -> None:
    """In points, beside the smallest that matters, and how many seeds would find that; unknown before four pairs."""
    first, unknown = lines(experiment, "10", "", [])
    assert first.startswith("seeds: 10 pairs find, four times in five, a true difference of 1.")
    assert first.endswith(" times the spread of a paired difference; what matters here is 1 point")
    assert unknown == "seeds: that spread is not known before 4 pairs are recorded"
    noisy = {seed: 70 + (-1) ** seed * 2.0 for seed in range(8)}
    recorded = Measured(
        {"batch": dict.fromkeys(range(8), 70.0), "group": noisy}, "batch", "test accuracy", ("batch", "group"), 1.0
    )
    _, spread, needed = lines(experiment, "10", "", [recorded])
    assert spread.startswith("seeds: the recorded runs have a spread of 2.1 points, so that is about 2.")
    assert needed.startswith("seeds: to find 1 point takes about 4")
