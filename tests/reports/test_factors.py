"""Effects of crossed factors: seeds as blocks, on results whose effects are known; cells that are missing are said."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.plans.cells import all_cells
from reports import factors, frames
from reports.document import Text
from reports.factors import Effect, effects
from reports.measured import POINTS
from reports.sections import Report
from reports.select import Selection
from tests.reports import records

CELLS = all_cells({"model.norm": ("batch", "group"), "model.dropout": (0.0, 0.1)})
GROUP, DROPOUT, BOTH = "model.norm group", "model.dropout 0.1", "model.norm group × model.dropout 0.1"
SEED_EFFECT = (0.0, 3.0, -2.0, 1.0, -1.5, 2.5, 0.5, -0.5)
"""Points that a seed adds to all of its cells: blocks, which no effect should feel."""
NOISE = (0.05, -0.04, 0.03, -0.06, 0.02, -0.01, 0.04, -0.03)


def crossed(
    folder: Path, result: Callable[[str, float, int], float | None], seeds: int = 8, cells: dict = CELLS
) -> Selection:
    """One run a cell and seed: its accuracy in percent by norm, dropout and seed; None for a run without a result."""
    design = records.design(tuple(cells), tuple(range(seeds)))
    asked = design.model_copy(update={"cells": cells, "factor": ("model.norm", "model.dropout"), "published": ()})
    made = []
    for name, own in cells.items():
        for seed in range(seeds):
            accuracy = result(str(own["model.norm"]), float(own["model.dropout"]), seed)
            if accuracy is not None:
                run = records.record(folder, name, seed)
                last = records.epoch(2, accuracy / 100)
                scores = last.test.model_copy(update={"loss": accuracy / 50})
                done = records.epoch(1, 0.3), last.model_copy(update={"test": scores})
                made.append(replace(run, events=(run.events[0], *done, run.events[-1])))
    return records.arranged(made, asked)


def known(norm: str, dropout: float, seed: int) -> float:
    """group costs a point; dropout a quarter of a point under batch norm, and 0.4 points more under group norm."""
    cost = (norm == "group") * 1.0 + (dropout > 0) * (0.25 + 0.4 * (norm == "group"))
    own = NOISE[(seed + 3 * (norm == "group") + 5 * (dropout > 0)) % 8]
    return 70 + SEED_EFFECT[seed] + own - cost


def by_name(selection: Selection) -> dict[str, Effect]:
    return {effect.contrast.name: effect for effect in effects(selection)}


def test_effects_are_found_through_the_differences_between_seeds(tmp_path: Path) -> None:
    """Seeds differ by five points and the interaction is 0.4: a block's effect falls out of every contrast."""
    found = by_name(crossed(tmp_path, known))
    assert found.keys() == {GROUP, DROPOUT, BOTH}
    for name, points in ((GROUP, -1.2), (DROPOUT, -0.45), (BOTH, -0.4)):
        tested = found[name].tested
        assert tested is not None
        assert tested.mean == pytest.approx(points, abs=0.03)
        assert tested.verdict == "worse"
        assert tested.p_adjusted == pytest.approx(2 / 2**8), "all seeds agree, and all effects share the sign patterns"
        assert tested.bounds is not None
        assert tested.bounds[1] < 0


def test_without_an_interaction_none_is_shown(tmp_path: Path) -> None:
    """Both factors cost a point, together two: parallel lines."""

    def additive(norm: str, dropout: float, seed: int) -> float:
        noise = 3 * NOISE[(seed + 3 * (norm == "group") + 5 * (dropout > 0)) % 8]
        return 70 + SEED_EFFECT[seed] + noise - (norm == "group") - (dropout > 0)

    found = by_name(crossed(tmp_path, additive))
    assert [name for name, each in found.items() if each.tested and each.tested.verdict == "worse"] == [GROUP, DROPOUT]
    said = [text.text for text in factors.sentences(crossed(tmp_path, additive), list(found.values()))]
    assert said[0].startswith("Shown: model.norm group instead of batch lowers test accuracy by ")
    assert not said[2].startswith("Shown: ")


def test_an_interaction_is_told_as_two_effects_and_how_far_they_lie_apart(tmp_path: Path) -> None:
    """Dropout costs 0.4 points more under group norm."""
    selection = crossed(tmp_path, known)
    said = factors.sentences(selection, effects(selection))[2].text
    assert said.startswith(
        "Shown: model.dropout 0.1 instead of 0.0 changes test accuracy by −0.25 points with model.norm batch and by "
        "−0.65 with group, 0.4 points lower (95% interval "
    )


def test_a_seed_that_lacks_a_cell_is_left_out_of_the_effects_that_need_it(tmp_path: Path) -> None:
    """One run of 32 is missing: every effect has seven seeds, for all need all four cells."""
    lacking = crossed(tmp_path, lambda *cell: None if cell == ("group", 0.1, 2) else known(*cell))
    assert {len(each.tested.differences) for each in effects(lacking) if each.tested} == {7}


def test_cells_without_results_are_said_and_so_are_the_effects_that_they_take(tmp_path: Path) -> None:
    """Of two by two with a third norm only what does not need the cell is left."""
    cells = all_cells({"model.norm": ("batch", "group", "layer"), "model.dropout": (0.0, 0.1)})
    selection = crossed(
        tmp_path, lambda *cell: None if cell[:2] == ("layer", 0.1) else known(*cell), seeds=6, cells=cells
    )
    found = by_name(selection)
    given = [name for name, each in found.items() if each.tested]
    assert given == [GROUP, BOTH]
    said = factors.sentences(selection, list(found.values()))[-1].text
    assert said == (
        "Missing: layer_01. These effects cannot be estimated: model.norm layer, model.dropout 0.1, model.norm layer × "
        "model.dropout 0.1."
    )
    rows = {row[0]: row[2] for row in factors.effects_table(list(found.values()), POINTS).rows}
    assert rows["model.norm layer"] == "cannot be estimated"
    assert factors.cells_table(selection).rows[-1] == ("layer_01", "layer", "0.1", 0, None)


def test_a_cell_that_the_design_leaves_out_takes_every_effect(tmp_path: Path) -> None:
    cells = {name: own for name, own in CELLS.items() if name != "group_01"}
    selection = crossed(tmp_path, known, seeds=6, cells=cells)
    (said,) = factors.sentences(selection, effects(selection))
    assert said.text.startswith("Missing: model.norm group with model.dropout 0.1. These effects cannot be estimated:")


def test_the_interaction_plot_has_a_line_a_level_and_a_dot_a_run(tmp_path: Path) -> None:
    """Means of cells over the other factor's levels; a cell without results leaves a gap."""
    (figure,) = factors.interaction_panels(crossed(tmp_path, known))
    (axes,) = figure.axes
    assert [np.asarray(line.get_ydata()).round(1).tolist() for line in axes.lines] == [[70.4, 70.1], [69.4, 68.7]]
    assert [line.get_label() for line in axes.lines] == ["batch", "group"]
    assert sum(len(np.asarray(dots.get_offsets())) for dots in axes.collections) == 32
    (figure,) = factors.interaction_panels(
        crossed(tmp_path, lambda *cell: None if cell[:2] == ("group", 0.1) else known(*cell))
    )
    assert np.isnan(np.asarray(figure.axes[0].lines[1].get_ydata())).tolist() == [False, True]


def test_effects_on_a_metric_that_is_no_percentage_are_in_its_own_unit(tmp_path: Path) -> None:
    """A loss that is a fiftieth of the accuracies above: effects are a fiftieth, and no point or percent is named."""
    design = {"primary_metric": "test_loss", "smallest_difference_points": 0.001}
    selection = crossed(tmp_path, known)
    asked = selection.design.model_copy(update=design)
    selection = replace(selection, summary=selection.summary.model_copy(update={"design": asked}))
    found = effects(selection)
    main, _, both = (text.text for text in factors.sentences(selection, found))
    assert main.startswith("Shown: model.norm group instead of batch lowers test loss by 0.024 (95% interval −0.02")
    assert "changes test loss by −0.005 with model.norm batch and by −0.013 with group, 0.008 lower" in both
    table = factors.effects_table(found, frames.unit("test_loss"))
    assert (table.columns[3], table.rows[0][3]) == ("size", "-0.024")
    cells = factors.cells_table(selection)
    assert (cells.columns[-1], cells.rows[0][-1]) == ("test loss", "1.407 ± 0.035")
    report = Report(selection, tmp_path)
    factors.section(report)
    said = " ".join(block.text for block in report.blocks if isinstance(block, Text))
    assert not {"point", "%)"} & set(said.replace("95%", "").split())


def test_the_section_stands_where_factors_are_crossed_alone(tmp_path: Path) -> None:
    report, plain = Report(crossed(tmp_path, known), tmp_path), Report(records.selection(tmp_path), tmp_path)
    factors.section(report)
    factors.section(plain)
    kinds = [type(block).__name__ for block in report.blocks]
    assert kinds == ["Heading", "Text", "Text", "Text", "Table", "Table", "Picture"]
    assert plain.blocks == []
