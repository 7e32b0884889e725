"""What a reader of MLflow's pages finds on the summary run."""

from pathlib import Path

from reports import prose
from reports.frames import comparisons
from reports.note import note
from tests.reports import records


def test_the_answer_comes_first_and_every_run_is_a_link(tmp_path: Path) -> None:
    """Question, headline, verdicts; then a row for each run, which leads to its page on the same server."""
    selection = records.selection(tmp_path)
    lines = note(selection, "7").splitlines()
    headline, verdict = prose.answer(selection, comparisons(selection))
    assert lines[0] == "Which norm?"
    assert lines[2] == f"{headline.text} <sub>R1–R6</sub>".replace("_", "\\_")
    assert lines[4].startswith(verdict.text)
    for number, record in enumerate(selection.records, 1):
        accuracy = 100 * record.correct.mean()
        link = f"[R{number}](#/experiments/7/runs/{record.id})"
        assert f"| {link} | {record.variant} | {record.seed} | {accuracy:.2f} |" in lines


def test_what_has_no_result_is_counted(tmp_path: Path) -> None:
    """Nobody takes an answer from half the runs for the whole."""
    selection = records.arranged([records.record(tmp_path, "batch", 0)], records.design(seeds=(0,)))
    assert "> **Note:** 1 of 2 runs have no result." in note(selection, "7")


def test_a_verdict_stands_under_the_banners_of_its_report(tmp_path: Path) -> None:
    """What was allowed to differ, and a margin chosen after the runs; MLflow's page shows no verdict without them."""
    others = records.CIRCUMSTANCES.model_copy(update={"threads": 2})
    made = [
        records.record(tmp_path, variant, seed, records.started(variant, seed, circumstances=around))
        for variant, around in (("batch", records.CIRCUMSTANCES), ("group", others))
        for seed in (0, 1, 2)
    ]
    now = records.design().model_copy(update={"smallest_difference_points": 0.2})
    lines = note(records.arranged(made, now), "7", ("circumstances.threads",)).splitlines()
    assert lines[2] == ("> **Note:** Compared nevertheless, as allowed: circumstances.threads: 1 (3 runs); 2 (3 runs)")
    assert lines[4].startswith(
        "> **Note:** The design changed after runs were recorded: smallest difference points 0.5"
    )


def test_without_results_it_says_so(tmp_path: Path) -> None:
    """No answer is made up."""
    assert note(records.arranged([], records.design()), "7") == "Which norm?\n\n> **Note:** No run has a result yet."


def test_other_images_are_named_under_the_question(tmp_path: Path) -> None:
    """As in the report."""
    design = records.design().model_copy(update={"changed": {"data.name": ("mnist", "digits")}})
    said = note(records.arranged(list(records.selection(tmp_path).records), design), "7")
    assert said.splitlines()[2].startswith("The question was asked of mnist; it is answered on digits.")
