"""The report on anyone's results gives the numbers and the verdicts that our own report gives of the same runs."""

import re
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

import reports.__main__
from reports.__main__ import main
from reports.frames import comparisons, comparisons_frame, summary_frame
from reports.measured import PLAIN, Measured
from reports.publish import kept_runs
from reports.verdicts import explain

PUBLISHED = Path(__file__).resolve().parents[2] / "reports" / "published" / "norm_comparison"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports.__main__, "ROOT", root)
        assert main(["compare", f"--csv={PUBLISHED / 'runs.csv'}", "--metric=test_accuracy"]) == 0
    return root / "reports" / "out" / "compare-runs"


def test_a_published_reports_own_runs_give_its_numbers(folder: Path) -> None:
    """Every column of both tables that needs no images, to the last digit, and every sentence of the verdicts.

    The published report is that of its data as long as `make report-check` holds.
    """
    text, (kept,) = (folder / "report.md").read_text(), kept_runs(PUBLISHED)
    theirs = pd.read_csv(StringIO(comparisons_frame(comparisons(kept)).to_csv(index=False)))
    ours = pd.read_csv(folder / "comparisons.csv")
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert list(ours["verdict"]) == ["worse"] * 3
    theirs, ours = summary_frame(kept), pd.read_csv(folder / "summary.csv")
    shared = ["variant", "n", "mean", "std", "low", "high"]
    pd.testing.assert_frame_equal(ours[shared], theirs[shared], rtol=1e-12)
    for comparison in comparisons(kept):
        assert explain(comparison).replace("_", r"\_") in text


def test_its_glossary_is_of_what_it_has(folder: Path) -> None:
    """No numbers R1, no calibration, and nothing about how another program uses its seeds."""
    glossary = (folder / "report.md").read_text().split("## Words")[1]
    assert "| run | One row of the table under Runs. |" in glossary
    assert not re.search(r"R1|calibration|randomness", glossary)


def test_the_page_needs_nothing_beside_it(folder: Path) -> None:
    """Both pictures are inside, and nothing is loaded from elsewhere."""
    page = (folder / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == 2
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert (folder / "figures" / "forest.png").exists()


def test_lower_is_better_turns_verdicts_not_differences() -> None:
    """A loss that falls in every pair is better, and its difference and interval are negative."""
    falls = {"a": dict.fromkeys(range(8), 1.0), "b": {seed: 0.89 - seed / 100 for seed in range(8)}}
    found = Measured(falls, "a", "loss", ("a", "b"), 0.05, PLAIN, lower_is_better=True)
    (made,) = found.compared()
    assert made.verdict == "better"
    assert made.mean_difference == pytest.approx(-0.145)
    assert made.ci_low is not None
    assert made.ci_high is not None
    assert made.ci_low < -0.145 < made.ci_high < 0
    assert found.best == ("b",)
    assert explain(made, PLAIN).startswith("b is 0.14 better than a (95% interval −0.17")


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_figures_come_in_another_form_on_request(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the pictures of the page, dated by nothing: the same results give the same bytes."""
    (tmp_path / "mine.csv").write_text("variant,seed,acc\na,0,0.70\na,1,0.72\nb,0,0.74\nb,1,0.75\n")
    monkeypatch.setattr(reports.__main__, "ROOT", tmp_path)
    monkeypatch.setenv("FIGURES", kind)
    made = []
    for _ in range(2):
        assert main(["compare", f"--csv={tmp_path / 'mine.csv'}"]) == 0
        figures = tmp_path / "reports" / "out" / "compare-mine" / "figures"
        assert {path.name for path in figures.iterdir()} == {
            f"{n}.{k}" for n in ("forest", "seeds") for k in ("png", kind)
        }
        made.append((figures / f"forest.{kind}").read_bytes())
    assert made[0] == made[1]


def test_another_form_that_is_none_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIGURES", "eps")
    assert main(["compare", f"--csv={PUBLISHED / 'runs.csv'}", "--metric=test_accuracy"]) == 2
    assert capsys.readouterr().err == "error: FIGURES must be pdf, svg or left out; got 'eps'\n"


def test_compare_wants_one_source(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither, or both, is one line."""
    for arguments in ([], ["--csv=a.csv", "--mlflow=b"]):
        assert main(["compare", *arguments]) == 2
        said = capsys.readouterr().err
        assert said == "error: compare needs CSV=results.csv or MLFLOW=experiment, one of the two\n"
