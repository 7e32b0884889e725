"""Published reports follow from the data beside them, and what no longer follows is found, wherever it stands."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import reports.__main__ as command_line
from harness.values import HarnessError
from reports.publish import publish, rebuild
from reports.verify import check, compare, holds_report
from tests.reports import records
from tests.reports.test_build import IMAGES

PUBLISHED = Path(__file__).resolve().parents[2] / "reports" / "published"
REPORTS = sorted(path.parent.parent for path in PUBLISHED.glob("*/data/publication.json"))


@pytest.mark.parametrize("published", REPORTS, ids=lambda path: path.name)
def test_a_published_report_still_follows_from_its_data(published: Path) -> None:
    """Rebuilt from journals and predictions alone, every number and every line is the same."""
    check(published)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report as published, and never touched."""
    folder = tmp_path_factory.mktemp("published")
    publish([records.selection(folder)], folder / "norms", (), [IMAGES])
    return folder / "norms"


@pytest.fixture
def published(fresh: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(fresh, tmp_path / "norms"))


def change(name: str, pattern: str, by: str) -> Callable[[Path], None]:
    """Spoils the first match in one file."""

    def spoil(report: Path) -> None:
        text, count = re.subn(pattern, by, (report / name).read_text(encoding="utf-8"), count=1)
        assert count == 1, f"{pattern} is not in {name}"
        (report / name).write_text(text, encoding="utf-8")

    return spoil


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "an accuracy": (change("runs.csv", r"batch,0,0\.", "batch,0,0.1"), "runs.csv no longer follows from its data"),
    "a mean": (change("summary.csv", r"test_accuracy,\d", "test_accuracy,1"), "summary.csv no longer follows"),
    "a verdict": (change("comparisons.csv", "not decided", "better"), "comparisons.csv no longer follows"),
    "a p-value": (change("comparisons.csv", r"group,batch,3,-?[\d.]+", "group,batch,3,9.9"), "comparisons.csv no"),
    "a count": (change("flips.csv", r",3,3\n", ",2,3\n"), "flips.csv no longer follows from its data"),
    "a row": (change("flips.csv", r"\n[^\n]+\n$", "\n"), "flips.csv no longer follows from its data"),
    "a sentence": (change("report.md", "Not decided: group", "Decided: group"), r"report.md line \d+ was 'Decided"),
    "a line more": (change("report.md", r"$", "\nAnd so on.\n"), r"report.md had \d+ lines and has \d+"),
    "a number on the page": (
        change("report.html", r'(<td class="number"[^>]*>)\d', r"\g<1>9"),
        r"report.html line \d+",
    ),
    "a link on the page": (change("report.html", r'href="#R1"', 'href="#R2"'), r"report.html line \d+"),
    "a table that is none": (
        lambda report: (report / "flips.csv").write_text(""),
        r"flips.csv cannot be read \(No col",
    ),
    "a text that is none": (lambda report: (report / "report.md").write_bytes(b"\xff"), "report.md cannot be read"),
    "a CSV file gone": (lambda report: (report / "flips.csv").unlink(), "flips.csv is missing"),
    "a figure gone": (lambda report: (report / "figures" / "seeds.png").unlink(), "figures/seeds.png is missing"),
    "a file too many": (lambda report: (report / "note.md").write_text("x"), "note.md is in no report built from"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_was_changed_by_hand_is_found(what: str, fresh: Path, published: Path) -> None:
    """A digit, a verdict, a row, a sentence, a file: each is named, in one line."""
    spoil, said = SPOILED[what]
    shutil.rmtree(published / "data")
    reference = shutil.copytree(fresh, published.with_name("fresh"), ignore=shutil.ignore_patterns("data"))
    compare(published, Path(reference))
    spoil(published)
    with pytest.raises(HarnessError, match=said) as found:
        compare(published, Path(reference))
    assert "\n" not in str(found.value)
    assert ("cannot be read" in str(found.value)) == ("cannot be read" in said)


def journal_of(report: Path, variant: str) -> Path:
    return next((report / "data" / "norms").glob(f"norms-{variant}-s0-*.jsonl"))


def spoil_predictions(report: Path) -> None:
    """The first run that got the first image wrong now gets it right, or the reverse."""
    file = journal_of(report, "batch").with_suffix(".npz")
    with np.load(file) as kept:
        logits, labels = kept["logits"], kept["labels"]
    logits[0] = np.roll(logits[0], 1)
    np.savez_compressed(file, logits=logits, labels=labels)


def test_data_that_contradict_each_other_are_found(published: Path) -> None:
    """Predictions changed by hand no longer give the accuracy that the journal recorded."""
    spoil_predictions(published)
    with pytest.raises(HarnessError, match=r"^norms: run norms-batch-s0-\w+ recorded a test accuracy of 0\.\d{4}, and"):
        check(published)


def test_changed_data_change_the_report(published: Path) -> None:
    """A loss changed in a journal no longer gives the published tables."""
    journal = journal_of(published, "group")
    journal.write_text(journal.read_text().replace('"test":{"loss":0.55', '"test":{"loss":0.45'))
    with pytest.raises(HarnessError, match=r"norms/metrics\.csv no longer follows from its data.*loss"):
        check(published)


@pytest.mark.parametrize("file", ["plan.json", "publication.json", "npz"])
def test_damaged_data_are_one_line(file: str, published: Path) -> None:
    """Not a traceback: the report's name, what could not be read, what to do."""
    path = journal_of(published, "batch").with_suffix(".npz") if file == "npz" else published / "data" / file
    path = path if path.exists() else published / "data" / "norms" / file
    whole = path.read_bytes()
    path.write_bytes(whole[:80] + bytes(20) + whole[100:])
    with pytest.raises(HarnessError, match=r"^norms: its data cannot be read \(.+\); publish it again$") as found:
        check(published)
    assert "\n" not in str(found.value)


def test_update_puts_the_rebuilt_report_in_place(published: Path) -> None:
    """Numbers changed by hand are replaced, files that belong to no report go, the data stay."""
    before = sorted((published / "data").rglob("*"))
    for spoil, _ in SPOILED.values():
        spoil(published)
    check(published, update=True)
    assert sorted((published / "data").rglob("*")) == before
    check(published)


def test_folders_without_a_report_are_left_alone_on_purpose(tmp_path: Path) -> None:
    """Pictures and measurements are skipped; a report that lost its data is not."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "README.md").write_text("Measured.")
    assert not holds_report(tmp_path / "bench")
    (tmp_path / "bench" / "report.md").write_text("Claimed.")
    with pytest.raises(
        HarnessError, match=r"^bench has no data/publication\.json to follow from; publish it again, or"
    ):
        holds_report(tmp_path / "bench")


def test_every_folder_is_named_even_after_one_that_fails(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make report-check`: a line each, status 2 for what no longer holds."""
    root = published.parent
    monkeypatch.setattr(command_line, "ROOT", root)
    (root / "reports" / "published" / "reliability").mkdir(parents=True)
    (root / "reports" / "published" / "empty").mkdir()
    (root / "reports" / "published" / "empty" / "report.md").write_text("Claimed.")
    published.rename(root / "reports" / "published" / "norms")
    assert command_line.main(["check"]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "holds: reports/published/norms",
        "skipped: reports/published/reliability (not a report)",
    ]
    assert err.startswith("error: empty has no data/publication.json")


def test_rebuilding_needs_nothing_but_the_data(published: Path, tmp_path: Path) -> None:
    """The report's own files may all be gone."""
    for path in published.iterdir():
        if path.name != "data":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    rebuild(published, tmp_path / "again")
    assert (tmp_path / "again" / "report.html").exists()
