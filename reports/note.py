"""The note on an experiment's summary run in MLflow: question, answer, and a link to every run."""

from collections.abc import Sequence

from reports import frames, guard, prose
from reports.banners import banners
from reports.document import Banner, Text
from reports.markdown import escape, render_blocks
from reports.select import Selection


def note(selection: Selection, experiment_id: str, allowed: Sequence[str] = ()) -> str:
    """Markdown for the run's description, with links relative to the MLflow server that shows it.

    Args:
        experiment_id: the experiment's id in MLflow.
        allowed: dotted fields in which runs may differ although it could change results.
    """
    question = [text for text in (Text(selection.design.question), prose.asked_of(selection)) if text]
    if not selection.records:
        return render_blocks([*question, Banner("No run has a result yet.")])
    where = Text("The whole report is among this run's artifacts: report/report.html.")
    found = guard.differences(selection.records, selection.design.may_differ)
    above, answer = banners(selection, found, allowed), prose.answer(selection, frames.comparisons(selection))
    return render_blocks([*question, *above, *answer, where]) + "\n\n" + _runs(selection, experiment_id)


def _runs(selection: Selection, experiment_id: str) -> str:
    """The table of runs with links, which cells of a report's tables cannot have."""
    unit = frames.unit(selection.design.primary_metric)
    rows = [f"| run | variant | seed | {prose.metric_name(selection)} {unit.sign} |", "| --- | --- | ---: | ---: |"]
    results = frames.results(selection)
    for number, record in enumerate(selection.records, 1):
        link = f"[R{number}](#/experiments/{experiment_id}/runs/{record.id})"
        value = results[record.variant][record.seed]
        rows.append(f"| {link} | {escape(record.variant)} | {record.seed} | {unit.plain(value)} |")
    return "\n".join(rows)
