"""Build a report (text, figures, CSV files) from selections of runs, and put it in place atomically."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.artifacts.spreadsheet import write_csv
from harness.environment.files import remove_leftovers
from harness.values import HarnessError
from reports import (
    errors,
    factors,
    frames,
    guard,
    html,
    latex,
    looks_said,
    markdown,
    metrics,
    prose,
    sections,
    tuning,
    words,
)
from reports.document import Banner, Block, Document, Heading, Text
from reports.grids import Images
from reports.sections import Report
from reports.select import Selection


def build(
    selections: Sequence[Selection],
    folder: Path,
    allowed: Sequence[str],
    images: Sequence[Images | None],
    also: str = "",
    rope: bool = False,
    linked: bool = False,
) -> Document:
    """Replace `folder` by a report with its figures and CSV files, and return its text.

    Args:
        allowed: dotted fields in which runs may differ although it could change results.
        images: the test images of each selection, if available.
        also: "pdf" or "svg" to write every figure in that format too.
        rope: add a table of Bayesian probabilities of each difference.
        linked: let report.html refer to the figures beside it instead of embedding them.

    Raises:
        NotComparable: runs differ in a field that is neither the factor nor in `allowed`; nothing is written.
        HarnessError: a run's recorded test accuracy disagrees with its predictions; nothing is written.
    """
    for selection in selections:
        guard.refuse(guard.differences(selection.records, selection.design.may_differ), allowed)
        _refuse_contradictions(selection)
    with replacing(folder) as fresh:
        document = _build(selections, fresh, allowed, images, also, rope)
        (fresh / "report.md").write_text(markdown.render(document), encoding="utf-8")
        (fresh / "report.html").write_text(html.render(document, fresh, linked), encoding="utf-8")
        return document


TOLERANCE = 1e-4
"""Largest allowed difference between a recorded test accuracy and that of the stored predictions."""


def _refuse_contradictions(selection: Selection) -> None:
    """Check that journals agree with predictions, which are in separate files."""
    for variant, records in selection.variants.items():
        for record, found in zip(records, selection.answers[variant].correct.mean(axis=1), strict=True):
            recorded = record.epochs[-1].test.accuracy
            if abs(recorded - found) > TOLERANCE:
                raise HarnessError(
                    f"run {record.key} recorded a test accuracy of {recorded:.4f}, and its predictions give "
                    f"{found:.4f}: one of the two files was changed; put it back, or remove the run (make forget "
                    f"RUN={record.key}) and make it again"
                )


_UNFINISHED = ".unfinished-"


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Context with an empty folder that replaces `folder` on success and is removed on failure."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent, _UNFINISHED)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{_UNFINISHED}{os.getpid()}-") as made:
        fresh = Path(made) / folder.name
        fresh.mkdir()
        yield fresh
        for more in (2, 1, 0):  # retries, as another process may put its report there between the renames
            with suppress(FileNotFoundError):
                folder.rename(Path(made) / f"old{more}")
            try:
                fresh.rename(folder)
                return
            except OSError:
                if not more:
                    raise


def _build(
    selections: Sequence[Selection],
    folder: Path,
    allowed: Sequence[str],
    images: Sequence[Images | None],
    also: str,
    rope: bool,
) -> Document:
    blocks: list[Block] = []
    for selection, at_hand in zip(selections, images, strict=True):
        if len(selections) == 1:
            report = Report(selection, folder, also=also)
        else:
            blocks.append(Heading(selection.design.experiment))
            report = Report(selection, folder, f"{selection.design.experiment}_", level=3, also=also)
        _experiment(report, allowed, at_hand, rope)
        blocks += report.blocks
    blocks += [Heading("Words"), words.table()]
    title = " and ".join(selection.design.experiment for selection in selections)
    return Document(title, tuple(blocks))


def _experiment(report: Report, allowed: Sequence[str], images: Images | None, rope: bool) -> None:
    selection = report.selection
    if not selection.records:
        asked = [text for text in (Text(selection.design.question), prose.asked_of(selection)) if text]
        report.add(*asked, Banner("No run has a result yet."))
        report.add(sections.absent_table(selection))
        return
    found = guard.differences(selection.records, selection.design.may_differ)
    sections.opening(report, found, allowed)
    comparisons = frames.comparisons(selection)
    sections.answer(report, comparisons, rope)
    looks_said.section(report)
    factors.section(report)
    tuning.section(report)
    sections.differs(report, found)
    sections.changed_hands(report, images)
    sections.cost(report, comparisons)
    report.add(*tuning.cost(selection))
    sections.course(report)
    sections.closing(report)
    files = {
        "runs": frames.runs_frame(selection),
        "summary": frames.summary_frame(selection),
        "comparisons": frames.comparisons_frame(frames.every_comparison(selection)),
        "flips": errors.flips_frame(selection),
        "metrics": metrics.frame(selection),
    }
    for name, frame in files.items():
        write_csv(frame, report.folder / f"{report.prefix}{name}.csv")
    latex.write(frames.measured(selection), comparisons, report.folder, report.prefix)
