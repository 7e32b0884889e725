"""The answer's tables: every comparison with the numbers that its verdict rests on."""

from pathlib import Path

from reports import comparison_tables, frames
from reports.document import Table
from reports.measured import Measured
from reports.statistics import compare
from tests.reports import records

RESULTS = {
    "batch": dict.fromkeys(range(7), 70.0),
    "group": {seed: 71.0 + 0.1 * seed for seed in range(7)},
    "layer": {seed: 69.9 + 0.04 * seed for seed in range(7)},
}


def first(table: Table) -> dict[str, object]:
    return dict(zip(table.columns, table.rows[0], strict=True))


def test_comparisons_say_what_the_seeds_can_show(tmp_path: Path) -> None:
    """Three pairs: no verdict, no interval, and no plan."""
    row = first(comparison_tables.comparisons_table(compare(frames.results(records.selection(tmp_path)), "batch", 0.5)))
    assert (row["verdict"], row["pairs"], row["95% interval"]) == ("not decided", 3, None)
    assert row["seeds needed"] is None


def test_one_pair_plans_nothing(tmp_path: Path) -> None:
    """Of one pair the spread is unknown, and how many seeds the question needs."""
    alone = compare(frames.results(records.selection(tmp_path, seeds=(0,))), "batch", 0.5)
    row = first(comparison_tables.comparisons_table(alone))
    assert row["seeds needed"] is row["detectable, points"] is None


def test_seven_pairs_that_agree_stand_with_all_their_numbers() -> None:
    """p for all comparisons beside p alone, and the chance to be ahead with its interval."""
    row = first(comparison_tables.comparisons_table(compare(RESULTS, "batch", 0.5)))
    assert row == {
        "variant": "group",
        "verdict": "better",
        "difference, points": "+1.30",
        "95% interval": "+1.00 to +1.60",
        "pairs": 7,
        "p, alone": "0.016",
        "p": "0.016",
        "p, equivalent": "1.000",
        "ahead": "7 of 7 (59% to 100%)",
        "detectable, points": "0.33",
        "seeds needed": None,
    }


def test_the_other_pairs_are_told_by_both_their_names() -> None:
    table = comparison_tables.pairs_table(compare(RESULTS, "batch", 0.5, every_pair=True)[2:])
    assert [row[:5] for row in table.rows] == [("layer", "group", "worse", "-1.28", "-1.46 to -1.10")]


def test_posterior_probabilities_need_a_spread() -> None:
    """Of two pairs or more that differ; a dash where there are none."""
    results = RESULTS | {"same": dict.fromkeys(range(7), 70.3), "one": {0: 71.0}}
    found = Measured(results, "batch", "test accuracy", tuple(results), 0.5)
    table = comparison_tables.posterior_table(found, compare(results, "batch", 0.5))
    assert table.columns == ("variant", "pairs", "worse", "within ±0.5 points", "better")
    assert table.rows[0] == ("group", 7, "0%", "0%", "100%")
    assert table.rows[1] == ("layer", 7, "0%", "100%", "0%")
    assert table.rows[2:] == [("same", 7, None, None, None), ("one", 1, None, None, None)]
    assert "no verdict rests on it" in table.caption
