"""Record a look whenever a report is written, and report on looks if they were declared."""

import time
from dataclasses import replace
from pathlib import Path

from harness.evidence import metrics
from harness.evidence.looks import decide
from harness.plans.looks import Look
from harness.records import looks as journal
from reports import frames
from reports.document import Table, Text
from reports.prose import count, listed
from reports.sections import Report
from reports.select import Selection


def looked(selection: Selection, root: Path) -> Selection:
    """Record that the results were seen, and return the selection with all looks at its experiment so far.

    Args:
        root: the project's folder.
    """
    if not selection.records:
        return selection
    now = Look(
        time=time.time(),
        seeds=tuple(sorted({record.seed for record in selection.records})),
        variants=tuple(sorted(selection.variants)),
        runs=len(selection.records),
    )
    looks = journal.note(root / "runs" / selection.design.experiment, now)
    return replace(selection, summary=selection.summary.model_copy(update={"looks": looks}))


def section(report: Report) -> None:
    """Add the section on interim looks, if any were declared: what each spent, and why each variant stopped."""
    selection = report.selection
    if not selection.design.looks:
        return
    report.heading("Looks")
    report.add(Text(declared(selection), selection.numbers()), table(selection))


def declared(selection: Selection) -> str:
    """A sentence on the declared looks, and whether every run was recorded with them."""
    design = selection.design
    at = listed([f"{look:,}" for look in design.looks])
    others = sum(record.started.design.looks != design.looks for record in selection.records)
    when = "before the first run" if not others else f"but {count(others, 'run')} began without them or with others"
    unplanned = sum(not look.planned for look in selection.summary.looks)
    was = "was" if unplanned == 1 else "were"
    more = f" There {was} {count(unplanned, 'look')} more that nobody declared." if unplanned else ""
    return (
        f"Seeds were added until it was decided. Looks at {at} seeds were declared, {when}; together, over all looks "
        f"and variants, they err with 5%.{more}"
    )


def table(selection: Selection) -> Table:
    """A table with a row per variant: its decision, the look, the error spent by then, and the reason."""
    design, results = selection.design, frames.results(selection)
    base, sign = results[selection.baseline], 1 if metrics.of_primary(design.primary_metric).higher_is_better else -1
    differences = {
        variant: {seed: sign * (found[seed] - base[seed]) for seed in found.keys() & base}
        for variant, found in results.items()
        if variant != selection.baseline
    }
    made = decide(differences, design.seeds, design.looks, design.smallest_difference_points)
    rows = [
        (variant, decision.outcome, decision.seeds or None, f"{decision.spent:.0%}", decision.reason)
        for variant, decision in made.items()
    ]
    columns = ("variant", "outcome", "seeds at that look", "error spent by then", "because")
    return Table(columns, rows, "Error spent: the share of the 5%. Futile and open are not decided.")
