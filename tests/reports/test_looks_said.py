"""Looks: every report is one and is remembered once; declared looks are told with what they spent and decided."""

from dataclasses import replace
from pathlib import Path

from harness.plans.looks import Look
from harness.records import looks
from reports import looks_said
from reports.sections import Report
from reports.select import Selection
from tests.reports import records

LOOKS = (7, 10)


def declared(folder: Path, recorded: tuple[int, ...] = LOOKS) -> Selection:
    """group is worse by two points or more in each of seven pairs; layer is the same but for noise, in ten."""
    design = records.design(("batch", "group", "layer"), tuple(range(10)))
    asked = design.model_copy(update={"looks": LOOKS, "max_seeds": 10})
    made = []
    for variant, effect, seeds in (("batch", 0.0, 10), ("group", -0.03, 7), ("layer", 0.001, 10)):
        for seed in range(seeds):
            first = records.started(variant, seed)
            first = first.model_copy(update={"design": first.design.model_copy(update={"looks": recorded})})
            run = records.record(folder, variant, seed, first)
            accuracy = 0.7 + 0.01 * (seed % 3) + effect + (0.02 * (-1) ** seed if variant == "layer" else 0.0)
            made.append(replace(run, events=(first, records.epoch(1, 0.3), records.epoch(2, accuracy), run.events[-1])))
    return records.arranged(made, asked)


def test_a_report_is_a_look_and_the_same_results_are_one(tmp_path: Path) -> None:
    """Written twice it is remembered once; with more seeds it is another look, and the report knows of both."""
    few, more = records.selection(tmp_path, seeds=(0, 1)), records.selection(tmp_path, seeds=(0, 1, 2))
    looks_said.looked(few, tmp_path)
    looks_said.looked(few, tmp_path)
    known = looks_said.looked(more, tmp_path).summary.looks
    assert [(look.seeds, look.variants, look.runs, look.planned) for look in known] == [
        ((0, 1), ("batch", "group"), 4, False),
        ((0, 1, 2), ("batch", "group"), 6, False),
    ]
    assert looks.read(tmp_path / "runs" / "norms") == known


def test_a_report_without_results_is_no_look(tmp_path: Path) -> None:
    nothing = records.arranged([], records.design())
    assert looks_said.looked(nothing, tmp_path) is nothing
    assert looks.read(tmp_path / "runs" / "norms") == ()


def test_declared_looks_are_told_with_what_they_spent_and_why_each_variant_stopped(tmp_path: Path) -> None:
    selection = declared(tmp_path)
    rows = {row[0]: row[1:] for row in looks_said.table(selection).rows}
    assert rows["group"] == ("worse", 7, "79%", "shown at the look at 7 seeds")
    assert rows["layer"][:3] == ("futile", 7, "79%")
    assert str(rows["layer"][3]).startswith("at the look at 7 seeds the chance that 10 would show a difference or")
    assert looks_said.declared(selection) == (
        "Seeds were added until it was decided. Looks at 7 and 10 seeds were declared, before the first run; together, "
        "over all looks and variants, they err with 5%."
    )


def test_runs_that_began_without_these_looks_are_counted(tmp_path: Path) -> None:
    """Looks that were declared when runs existed are not called declared before the first."""
    said = looks_said.declared(declared(tmp_path, recorded=()))
    assert "Looks at 7 and 10 seeds were declared, but 27 runs began without them or with others;" in said


def test_a_look_too_many_is_counted(tmp_path: Path) -> None:
    """A report at eight seeds, between two declared looks."""
    between = Look(time=1.0, seeds=tuple(range(8)), variants=("batch", "layer"), runs=16)
    selection = declared(tmp_path)
    seen = selection.summary.model_copy(update={"looks": (between,)})
    said = looks_said.declared(replace(selection, summary=seen))
    assert said.endswith(" There was 1 look more that nobody declared.")


def test_the_section_stands_where_looks_were_declared_alone(tmp_path: Path) -> None:
    report, fixed = Report(declared(tmp_path), tmp_path), Report(records.selection(tmp_path), tmp_path)
    looks_said.section(report)
    looks_said.section(fixed)
    assert [type(block).__name__ for block in report.blocks] == ["Heading", "Text", "Table"]
    assert fixed.blocks == []
