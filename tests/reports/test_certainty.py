"""What verdicts rest on is said as it is: assumption, family, looks, predictions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.plans.looks import Look
from harness.records.record import Record
from reports import certainty, frames
from reports.select import Selection
from tests.reports import records

VARIANTS = ("batch", "group", "layer")


def asked(selection: Selection, **changes: Any) -> Selection:
    """The same runs, asked by another design."""
    design = selection.design.model_copy(update=changes)
    return replace(selection, summary=selection.summary.model_copy(update={"design": design}))


def predicted(record: Record, **expected: str) -> Record:
    """The run, recorded with these predictions."""
    design = record.started.design.model_copy(update={"expected": expected})
    first = record.started.model_copy(update={"design": design})
    return Record(record.id, record.key, (first, *record.events[1:]), record.predictions)


def correction(selection: Selection, joined: bool = False) -> str:
    text = certainty.correction(selection, frames.comparisons(selection), joined)
    assert text
    return text.text


def test_assumption_and_family_are_said(tmp_path: Path) -> None:
    """Of one comparison its difference alone; of several the vector; of all pairs their number."""
    selection = records.selection(tmp_path, VARIANTS)
    assert correction(selection) == (
        "Verdicts assume that each seed's vector of differences is as likely as its negative. They are corrected "
        "for all 2 comparisons by flipping the signs of whole seeds."
    )
    assert correction(selection, joined=True).endswith(
        " The family is the 2 comparisons of norms; other experiments do not count."
    )
    assert "for all 3 comparisons, of all pairs of variants, by flipping" in correction(asked(selection, compare="all"))
    assert correction(records.selection(tmp_path)) == (
        "Verdicts assume that each seed's difference is as likely as its negative."
    )
    assert certainty.correction(selection, (), joined=True) is None


def test_declared_variants_without_runs_are_named(tmp_path: Path) -> None:
    made = list(records.selection(tmp_path, VARIANTS[:2]).records)
    selection = records.arranged(made, records.design(VARIANTS))
    assert correction(selection).endswith(" Declared and not compared yet: layer; once compared, every p can grow.")


def test_the_best_is_among_those_that_none_is_shown_to_beat(tmp_path: Path) -> None:
    selection = asked(records.selection(tmp_path, VARIANTS), compare="all")
    every = frames.every_comparison(selection)
    assert [(c.variant, c.baseline) for c in every] == [("group", "batch"), ("layer", "batch"), ("layer", "group")]
    assert certainty.best(selection, every).text == (
        "Of all pairs of variants: no variant is shown to be worse than another, so any may be the best."
    )
    some = [replace(every[0], verdict="worse"), *every[1:]]
    assert certainty.best(selection, some).text.endswith(
        "each but batch and layer is shown to be worse than another, so the best is among these."
    )
    one = [replace(every[0], verdict="worse"), every[1], replace(every[2], verdict="better")]
    assert certainty.best(selection, [*one, replace(every[1], verdict="better")]).text.endswith(
        "each but layer is shown to be worse than another, so layer is the best."
    )


def seen(selection: Selection, *numbers: int, planned: bool = False) -> Selection:
    looks = tuple(
        Look(time=float(n), seeds=tuple(range(n)), variants=VARIANTS[:2], runs=2 * n, planned=planned) for n in numbers
    )
    return replace(selection, summary=selection.summary.model_copy(update={"looks": looks}))


def test_looks_are_counted_from_the_fewest_seeds_that_can_show_anything(tmp_path: Path) -> None:
    """Three seeds can decide nothing, so a look at them costs nothing; six and seven are two looks."""
    seven = records.selection(tmp_path, VARIANTS[:2], tuple(range(7)))
    comparisons = frames.comparisons(seven)
    assert certainty.looks(seven, comparisons) is None
    assert certainty.looks(seen(seven, 3, 7), comparisons) is None
    text = certainty.looks(seen(seven, 3, 6, 7), comparisons)
    assert text
    assert text.text == (
        "Results were looked at after 6 and 7 seeds, and every p is of one look: stopping at the first that shows a "
        "difference errs in more than 5% of cases."
    )
    assert certainty.looks(seven, ()) is None


def test_declared_looks_decide(tmp_path: Path) -> None:
    """Which they are and what they spent has a section of its own."""
    seven = asked(records.selection(tmp_path, VARIANTS[:2], tuple(range(7))), looks=(7, 10))
    text = certainty.looks(seen(seven, 6, 7), frames.comparisons(seven))
    assert text
    assert text.text == (
        "Verdicts are those of the declared looks, which share the 5% of error; p and intervals are of one look."
    )


@pytest.mark.parametrize(
    ("recorded", "now", "said"),
    [
        ({"group": "worse"}, {"group": "worse"}, "The prediction is recorded with every run."),
        (
            {"group": "better"},
            {"group": "worse"},
            "The prediction was changed after runs existed: recorded was better with 6 runs.",
        ),
        ({}, {"group": "worse"}, "The prediction was changed after runs existed: recorded was nothing with 6 runs."),
    ],
)
def test_predictions_stand_beside_what_came_out(
    recorded: dict[str, str], now: dict[str, str], said: str, tmp_path: Path
) -> None:
    """And whether they are those that were recorded with the runs."""
    made = [predicted(record, **recorded) for record in records.selection(tmp_path).records]
    selection = asked(records.arranged(made, records.design()), expected=now)
    (comparison,) = frames.comparisons(selection)
    (text,) = certainty.predictions(selection, [comparison])
    assert text.text == f"Predicted of group: worse. It came out not decided. {said}"
    (hit,) = certainty.predictions(selection, [replace(comparison, verdict="worse")])
    assert "It came out worse, as predicted." in hit.text
    (miss,) = certainty.predictions(selection, [replace(comparison, verdict="equivalent")])
    assert "It came out equivalent, against the prediction." in miss.text


def test_a_withdrawn_prediction_is_told(tmp_path: Path) -> None:
    """And where nobody ever predicted anything, nothing is said."""
    selection = records.selection(tmp_path)
    assert certainty.predictions(selection, frames.comparisons(selection)) == []
    made = [predicted(selection.records[0], group="better"), *selection.records[1:]]
    (text,) = certainty.predictions(records.arranged(made, records.design()), frames.comparisons(selection))
    assert text.text == (
        "Predicted of group: nothing now. It came out not decided. The prediction was changed after runs existed: "
        "recorded was better with 1 run."
    )
