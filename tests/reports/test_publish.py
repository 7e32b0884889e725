"""Published reports follow from the data beside them."""

import shutil
from pathlib import Path

import pytest

from harness.spec import HarnessError
from reports.publish import check

PUBLISHED = Path(__file__).resolve().parents[2] / "reports" / "published"
REPORTS = sorted(path.parent.parent for path in PUBLISHED.glob("*/data/publication.json"))


@pytest.mark.parametrize("published", REPORTS, ids=lambda path: path.name)
def test_a_published_report_still_follows_from_its_data(published: Path) -> None:
    """Rebuilt from journals and predictions alone, every number and every line is the same."""
    check(published)


def test_a_changed_number_or_sentence_is_found(tmp_path: Path) -> None:
    """A digit changed by hand, in a table or in the text, fails the check and is named."""
    copy = tmp_path / REPORTS[0].name
    shutil.copytree(REPORTS[0], copy)
    text = (copy / "report.md").read_text()
    (copy / "report.md").write_text(text.replace("## Cost", "## Costs"))
    with pytest.raises(HarnessError, match=r"report\.md line \d+ was '## Costs' and is now '## Cost'"):
        check(copy)
    rows = (copy / "runs.csv").read_text()
    (copy / "runs.csv").write_text(rows.replace(",0,0.7", ",0,0.8", 1).replace(",0,0.9", ",0,0.8", 1))
    with pytest.raises(HarnessError, match=r"runs\.csv no longer follows from its data"):
        check(copy)
    check(copy, update=True)
    check(copy)
