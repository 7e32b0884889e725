"""Costs claim what measurements show: an interval beside every ratio, a line only where both sides are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.artifacts.figures import save
from reports import costs
from reports.frames import comparisons
from reports.select import Selection
from tests.reports import records

SECONDS = {"batch": (517, 414, 610, 460, 340, 327, 347), "layer": (318, 392, 418, 252, 321, 253, 274)}
"""A published report's seconds: 431 ± 106 and 318 ± 66."""
TIME = next(cost for cost in costs.COSTS if cost.column == "train_seconds")


def timed(folder: Path, seconds: Mapping[str, Sequence[float]], step: str = "eager") -> Selection:
    """Runs that took so long, seed by seed."""
    variants = tuple(seconds)
    selection = records.selection(folder, variants, tuple(range(len(seconds[variants[0]]))))
    for record in selection.records:
        end = records.FINISHED.model_copy(update={"train_seconds": float(seconds[record.variant][record.seed])})
        around = record.started.circumstances.model_copy(update={"step": step})
        record.__dict__.update(finished=end, started=record.started.model_copy(update={"circumstances": around}))
    return selection


def said(selection: Selection) -> list[str]:
    return [text.text for text in costs.text(selection)]


def test_a_ratio_within_the_machines_noise_is_not_shown(tmp_path: Path) -> None:
    """Three comparisons, as published: "0.74 times as long" stood alone, said of 318 ± 66 and 431 ± 106 s."""
    runs = {**SECONDS, "group": SECONDS["batch"], "norm": SECONDS["batch"]}
    listed, claim, *_ = said(timed(tmp_path, runs))
    assert listed.startswith("Training takes 430 ± 110 s (batch), 318 ± 66 s (layer), ")
    assert listed.endswith(" s (norm) on this machine, with whatever else ran on it.")
    assert claim == "layer takes 0.74 times as long as batch (95% interval 0.53 to 1.04): not shown to differ."


def test_a_ratio_beyond_it_is_said_with_its_interval(tmp_path: Path) -> None:
    twice = tuple(2 * seconds for seconds in SECONDS["layer"])
    slow, fast = {"batch": SECONDS["layer"], "layer": twice}, {"batch": twice, "layer": SECONDS["layer"]}
    assert said(timed(tmp_path, slow))[1] == (
        "layer takes 2.00 times as long as batch (95% interval 1.58 to 2.54): shown to take longer."
    )
    assert said(timed(tmp_path, fast))[1] == (
        "layer takes 0.50 times as long as batch (95% interval 0.39 to 0.64): shown to be faster."
    )


def test_more_variants_make_wider_intervals(tmp_path: Path) -> None:
    """All of a report's intervals hold together with 95%."""
    alone = costs.ratios(timed(tmp_path, SECONDS), TIME)["layer"]
    more = costs.ratios(timed(tmp_path, {**SECONDS, "group": SECONDS["layer"]}), TIME)["layer"]
    assert alone.low is not None
    assert more.low is not None
    assert (more.ratio, more.low < alone.low) == (alone.ratio, True)


def test_one_run_each_claims_no_ratio(tmp_path: Path) -> None:
    """Nor do seeds that trained as one: their seconds are one measurement."""
    expected = "With one measurement per variant the spread is unknown, so no ratio is claimed."
    single = said(timed(tmp_path, {"batch": (2691.8,), "group": (3203.3,)}))
    assert single == [
        "Training takes 2,700 s (batch), 3,200 s (group) on this machine, with whatever else ran on it.",
        expected,
    ]
    assert said(timed(tmp_path, SECONDS, step="stacked"))[1:] == [expected]
    assert len(said(timed(tmp_path, {"batch": (2.0, 3.0)}))) == 1


def test_a_variant_with_one_run_beside_others_claims_none_for_itself(tmp_path: Path) -> None:
    full = timed(tmp_path, {**SECONDS, "group": SECONDS["layer"]})
    kept = tuple(r for r in full.records if r.variant != "group" or r.seed == 0)
    claims = said(replace(full, records=kept))
    assert claims[2] == "group or batch has only one measurement, so no ratio is claimed."
    assert "times as long as batch" in claims[1]


@pytest.mark.parametrize(
    ("verdict", "shown", "more_is_better", "joined"),
    [
        ("better", 1, False, True),
        ("worse", -1, False, True),
        ("better", -1, True, True),
        ("better", -1, False, False),
        ("worse", 1, False, False),
        ("not decided", 1, False, False),
        ("equivalent", -1, False, False),
        ("better", 0, False, False),
    ],
)
def test_a_line_joins_only_what_is_shown_on_both_sides(
    tmp_path: Path, verdict: str, shown: int, more_is_better: bool, joined: bool
) -> None:
    """Better and costlier, or worse and cheaper; a variant that is both better and cheaper is no trade-off."""
    (made,) = comparisons(records.selection(tmp_path))
    ratio = costs.Ratio(2.0**shown, 2.0**shown * 0.9, 2.0**shown * 1.1)
    found = costs.trade_offs([replace(made, verdict=verdict)], {"group": ratio}, more_is_better)
    assert found == (["group"] if joined else [])


def test_counted_costs_need_no_interval(tmp_path: Path) -> None:
    """Four times as many parameters are four times as many, of a single run."""
    selection = records.selection(tmp_path, seeds=(0,))
    wide = selection.variants["group"][0]
    model = wide.started.model.model_copy(update={"parameters": 4 * 31_216})
    wide.__dict__["started"] = wide.started.model_copy(update={"model": model})
    found = {cost.column: costs.ratios(selection, cost)["group"] for cost in costs.COSTS}
    assert (found["parameters"].ratio, found["parameters"].shown) == (4, 1)
    assert (found["multiply_adds"].shown, found["train_seconds"].shown) == (0, 0)


def test_every_known_cost_has_a_plot_and_no_line_without_a_claim(tmp_path: Path) -> None:
    """Six costs of variants whose accuracy is not shown to differ: points with their bars, no line."""
    selection = timed(tmp_path, SECONDS)
    drawn = [panel.axes[0] for panel in costs.panels(selection, comparisons(selection), "test accuracy (%)")]
    assert [axes.get_xlabel() for axes in drawn] == [cost.label for cost in costs.COSTS]
    assert all(len(axes.containers) == 2 for axes in drawn)
    assert all(len(axes.lines) == 2 for axes in drawn), "the two points alone"
    assert drawn[0].get_ylabel() == "test accuracy (%)"


def test_a_shown_trade_off_is_joined_with_the_baseline(tmp_path: Path) -> None:
    selection = timed(tmp_path, SECONDS)  # of one comparison shown: 0.56 to 0.97
    made = [replace(c, verdict="worse") for c in comparisons(selection)]
    panels = costs.panels(selection, made, "test accuracy")
    drawn = {axes.get_xlabel(): axes for panel in panels for axes in panel.axes}
    line = drawn["training, seconds"].lines[-1]
    assert np.asarray(line.get_xdata()).tolist() == [pytest.approx(np.mean(s)) for s in SECONDS.values()]
    assert len(drawn["parameters"].lines) == 2


@pytest.mark.parametrize(("known", "plots"), [(1, 6), (0, 5)])
def test_a_cost_that_is_not_known_is_left_out(tmp_path: Path, known: int, plots: int) -> None:
    """A network without a receptive field has no point there; where none has one there is neither plot nor column."""
    selection = records.selection(tmp_path)
    for record in selection.records:
        if record.variant == "group" or not known:
            unknown = record.started.model.model_copy(update={"receptive_field": None})
            record.__dict__["started"] = record.started.model_copy(update={"model": unknown})
    drawn = costs.panels(selection, comparisons(selection), "test accuracy (%)")
    assert len(drawn) == plots
    points = {axes.get_xlabel(): len(axes.containers) for panel in drawn for axes in panel.axes}
    assert points.get("receptive field, pixels", 0) == known
    save(drawn[2], tmp_path / "figure.png")
    table = costs.table(selection)
    assert ("receptive field, pixels" in table.columns) == bool(known)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["training, s"], row["evaluation, s"]) == ("4.0", "1.0")


def test_times_of_several_machines_are_said_to_be_so(tmp_path: Path) -> None:
    """Seeds that were made elsewhere compare as pairs; their seconds are of other machines."""
    selection = records.selection(tmp_path)
    assert " on this machine, with whatever else ran on it." in costs.text(selection)[0].text
    first = selection.records[0]
    environment = records.ENVIRONMENT | {"processor": "another"}
    first.__dict__["started"] = first.started.model_copy(update={"environment": environment})
    assert " on several kinds of machine, with" in costs.text(selection)[0].text
