"""A whole report from invented runs: its sections, files and honesty."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.records.events import Diverged, Scores
from harness.values import HarnessError
from reports.build import build, replacing
from reports.document import Text
from reports.grids import Images
from reports.guard import NotComparable
from reports.select import Selection
from tests.reports import records
from tests.reports.test_frames import with_validation

IMAGES = Images(np.random.default_rng(0).integers(0, 256, (records.IMAGES, 32, 32, 3), dtype=np.uint8))


def test_a_report_answers_and_cites_its_runs(tmp_path: Path) -> None:
    """Best variant, verdict with run numbers, what differs, errors, cost, training, runs, words; and all files."""
    folder = tmp_path / "report"
    build([records.selection(tmp_path)], folder, (), [IMAGES])
    text = (folder / "report.md").read_text()
    assert "Which norm?" in text
    assert "<sub>R1–R6</sub>" in text
    assert "3 pairs of seeds cannot show any difference." in text
    assert text.index("figures/forest.png") < text.index("figures/seeds.png"), "the answer's first picture"
    assert text.count("![") == text.count("figures/") >= len(list((folder / "figures").iterdir()))
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Answer",
        "## What differs",
        "## Prediction flips",
        "## Cost",
        "## Training",
        "## Beside the published results",
        "## Runs",
        "## Words",
    ]
    assert "Nothing else differs between these runs:" in text
    for name in ("runs", "summary", "comparisons", "flips"):
        assert len(pd.read_csv(folder / f"{name}.csv"))
    for line in text.splitlines():
        if line.startswith("!["):
            assert (folder / line.split("](")[1].rstrip(")")).stat().st_size > 1000
    drawn = {path.stem for path in (folder / "figures").iterdir()}
    assert {"forest", "seeds", "fixed_group", "broken_group", "unstable", "always_wrong", "per_class"} <= drawn
    assert {"cost_1", "cost_6", "curves_1", "curves_3"} <= drawn
    assert "data:image/png;base64," in (folder / "report.html").read_text(encoding="utf-8")


def test_every_sentence_that_claims_something_cites_its_runs(tmp_path: Path) -> None:
    """But for the question, and how to read the pictures, which claim nothing."""
    document = build([records.selection(tmp_path)], tmp_path / "report", (), [IMAGES])
    uncited = [block.text for block in document.blocks if isinstance(block, Text) and not block.runs]
    assert len(uncited) == 2
    assert uncited[0] == "Which norm?"
    assert uncited[1].startswith("The pictures show up to 16 images each.")
    assert sum(isinstance(block, Text) for block in document.blocks) == 13


def test_missing_and_diverged_runs_stand_in_the_report(tmp_path: Path) -> None:
    """A banner counts them and a table says why."""
    made = [records.record(tmp_path, v, s) for v in ("batch", "group") for s in (0, 1, 2)]
    made[-1] = records.record(tmp_path, "group", 2, end=Diverged(time=1.0, step=7, where="train"))
    build([records.arranged(made, records.design())], tmp_path / "report", (), [None])
    text = (tmp_path / "report" / "report.md").read_text()
    assert "1 of 6 runs have no result." in text
    assert "| group | 2 | diverged: the loss is not finite at step 7 (train) |" in text


def test_a_baseline_without_results_is_said(tmp_path: Path) -> None:
    """Another variant stands in for it, and a banner says so."""
    made = [records.record(tmp_path, v, 0) for v in ("group", "layer")]
    build([records.arranged(made, records.design(("batch", "group", "layer"), (0,)))], tmp_path / "report", (), [None])
    text = (tmp_path / "report" / "report.md").read_text()
    assert "> **Note:** The baseline, batch, has no result; group stands in for it." in text


def test_validation_decides_where_the_experiment_says_so(tmp_path: Path) -> None:
    """The headline, the figures and the files speak of validation accuracy; test accuracy stands beside it."""
    build([with_validation(tmp_path)], tmp_path / "report", (), [None])
    text = (tmp_path / "report" / "report.md").read_text()
    assert "validation accuracy is 40.00% to 60.00%." in text
    assert "Every run's final validation accuracy" in text
    assert list(pd.read_csv(tmp_path / "report" / "summary.csv")["mean"]) == [40.0, 60.0]


def test_no_result_at_all_is_said_not_hidden(tmp_path: Path) -> None:
    """A report of nothing is a report that says so."""
    build([records.arranged([], records.design())], tmp_path / "report", (), [None])
    assert "No run has a result yet." in (tmp_path / "report" / "report.md").read_text()


def test_a_single_variant_is_reported_without_comparisons(tmp_path: Path) -> None:
    """One variant has curves and costs, and nothing to be compared with."""
    build([records.selection(tmp_path, ("batch",))], tmp_path / "report", (), [IMAGES])
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## Cost" in text
    assert "| variant | verdict |" not in text
    assert "came out highest" not in text


def test_a_refused_comparison_leaves_the_old_report(tmp_path: Path) -> None:
    """The guard speaks before anything is written; once allowed, a banner carries the difference."""
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.md").write_text("old")
    environment = records.ENVIRONMENT | {"code": "other"}
    odd = records.record(tmp_path, "group", 0, records.started("group", 0, environment=environment))
    selection = records.arranged([records.record(tmp_path, "batch", 0), odd], records.design(seeds=(0,)))
    with pytest.raises(NotComparable, match=r"environment\.code"):
        build([selection], folder, (), [None])
    assert (folder / "report.md").read_text() == "old"
    build([selection], folder, ("environment.code",), [None])
    assert "Compared nevertheless, as allowed: environment.code" in (folder / "report.md").read_text()


def test_a_variant_without_a_common_seed_is_not_compared(tmp_path: Path) -> None:
    """Differences are paired by seed, so there is none to speak of; the report says so and goes on."""
    made = [records.record(tmp_path, "batch", 0), records.record(tmp_path, "group", 1)]
    build([records.arranged(made, records.design())], tmp_path / "report", (), [None])
    assert "No seed in common with batch, so not compared: group." in (tmp_path / "report" / "report.md").read_text()


def test_several_experiments_join_in_one_report(tmp_path: Path) -> None:
    """Each has its heading and its own files."""
    selection = records.selection(tmp_path, seeds=(0,))
    build([selection, selection], tmp_path / "report", (), [None, None])
    text = (tmp_path / "report" / "report.md").read_text()
    assert text.startswith("# norms and norms\n")
    assert text.count("\n### Answer\n") == 2
    assert (tmp_path / "report" / "norms_runs.csv").exists()
    assert text.count("The family is the 1 comparison of norms; other experiments do not count.") == 2
    build([selection], tmp_path / "alone", (), [None])
    assert "The family is" not in (tmp_path / "alone" / "report.md").read_text()


def test_other_images_are_named_under_the_question(tmp_path: Path) -> None:
    """In a report with results, and in one that has none yet."""
    design = records.design().model_copy(update={"changed": {"data.name": ("mnist", "digits")}})
    for made in (list(records.selection(tmp_path).records), []):
        build([records.arranged(made, design)], tmp_path / "report", (), [None])
        text = (tmp_path / "report" / "report.md").read_text()
        assert "Which norm?\n\nThe question was asked of mnist; it is answered on digits." in text


def test_the_checkpoints_table_is_folded_away(tmp_path: Path) -> None:
    """It answers another question than the report, and is opened by who asks it."""
    build([records.selection(tmp_path)], tmp_path / "report", (), [None])
    text = (tmp_path / "report" / "report.md").read_text()
    folded = text.split("<details>")[1].split("</details>")[0]
    assert "<summary>McNemar&#x27;s test and a bootstrap over test images, seed by seed</summary>" in folded
    assert "| variant | seed | right here alone |" in folded
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<details>") == page.count("</details>") == 1
    assert "p (McNemar)" in page.split("<details>")[1].split("</details>")[0]


def test_what_a_killed_report_left_is_swept(tmp_path: Path) -> None:
    """The hidden folder of a process that is gone goes with the next report; a living one's stays."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, busy = (tmp_path / f".unfinished-{process}-x" for process in (dead.pid, os.getppid()))
    for folder in (left, busy):
        (folder / "report").mkdir(parents=True)
    with replacing(tmp_path / "report"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [busy.name, "report"]


def test_a_journal_that_its_predictions_contradict_is_refused(tmp_path: Path) -> None:
    """An accuracy of 210%, or one that somebody made better, stands in no report: one line, and what to do."""
    selection = records.selection(tmp_path)
    (changed, *_) = selection.records
    epochs = changed.epochs
    made = epochs[-1].model_copy(update={"test": Scores(loss=0.5, accuracy=2.1)})
    changed.__dict__["epochs"] = [*epochs[:-1], made]
    with pytest.raises(HarnessError, match=r"^run norms-batch-s0-\w+ recorded a test accuracy of 2\.1000, and its"):
        build([selection], tmp_path / "report", (), [None])
    assert not (tmp_path / "report").exists()


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    """What was there stays, and the temporary folder goes."""
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "old").write_text("old")

    def fail() -> None:
        with replacing(folder) as fresh:
            (fresh / "half").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert [path.name for path in folder.iterdir()] == ["old"]


def test_all_pairs_blocks_and_probabilities_stand_where_they_are_asked_for(tmp_path: Path) -> None:
    """compare="all", ROPE=1, and a later seed by later code: each is told; without them none is."""
    variants = ("batch", "group", "layer")
    selection = records.selection(tmp_path, variants)
    plain = "\n".join(build_text(selection, tmp_path / "plain"))
    assert "Of all pairs of variants" not in plain
    assert "Probability that the variant is truly worse" not in plain
    later = {"environment": records.ENVIRONMENT | {"code": "later"}}
    made = [
        replace(record, events=(record.started.model_copy(update=later), *record.events[1:]))
        if record.seed == 2
        else record
        for record in selection.records
    ]
    design = selection.design.model_copy(update={"compare": "all", "expected": {"group": "worse"}})
    text = build_text(records.arranged(made, design), tmp_path / "all", rope=True)
    for said in (
        "Of all pairs of variants: no variant is shown to be worse than another, so any may be the best.",
        "Predicted of group: worse. It came out not decided.",
        "They are corrected for all 3 comparisons, of all pairs of variants,",
        "*The other pairs of variants, in the same family of comparisons",
        "*Probability that the variant is truly worse than batch by more than 0.5 points,",
        "Seeds differ in environment.code, the same for all variants of each, so pairs remain comparable (blocks).",
        "| environment.code | 'abc123' (6); 'later' (3) | block: the same for all variants of each seed |",
    ):
        assert any(line.startswith(said) or said in line for line in text), said


def build_text(selection: Selection, folder: Path, rope: bool = False) -> list[str]:
    build([selection], folder, (), [None], rope=rope)
    return (folder / "report.md").read_text().splitlines()
