"""The command line of reports: write a report, publish it with its data, check the published ones."""

import argparse
import os
import signal
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the program at once, during its imports too

from harness.commands.parser import Parser, figures, switch
from harness.data.cache import open_cached
from harness.environment import project
from harness.environment.files import typed_path
from harness.plans import catalog
from harness.tracking.store import TrackingError, Unreachable
from harness.tracking.tracker import Tracker
from harness.values import HarnessError, not_unicode, refused_by_system, require_unicode, slug
from reports import compare, comparison_tables, designed, frames, prose, tables, terminal
from reports.build import build
from reports.external import Asked, read
from reports.external_tables import Table, from_csv, from_mlflow
from reports.grids import Images
from reports.looks_said import looked
from reports.note import note
from reports.publish import publish
from reports.select import Selection, select
from reports.verify import check, holds_report

ROOT = project()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0 done; 2 bad input, runs that cannot be compared, or a published report that cannot be
        reproduced from its data.
    """
    try:
        require_unicode("the project's folder", str(ROOT))
        return _act(_parser().parse_args(arguments))
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
    except UnicodeEncodeError as error:
        print("error:", HarnessError(not_unicode(error)), file=sys.stderr)
    except OSError as error:
        print("error:", HarnessError(refused_by_system(error)), file=sys.stderr)
    return 2


def _parser() -> Parser:
    parser = Parser(prog="reports", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("write", "into reports/out"),
        ("publish", "into reports/published, with the data"),
        ("results", "the tables alone, on the terminal"),
    ):
        commands.add_parser(name, help=text).add_argument(
            "experiments", metavar="EXP", help="names, separated by spaces"
        )
    commands.add_parser("check", help="rebuild every published report and compare")
    elsewhere = commands.add_parser("compare", help="results that another program trained")
    for name in ("csv", "mlflow", "variant", "seed", "metric", "baseline", "margin", "unit", "lower"):
        elsewhere.add_argument(f"--{name}", default="")
    plan = commands.add_parser("plan", help="what an experiment's seeds could show")
    plan.add_argument("experiment", metavar="EXP")
    for name in ("seeds", "variants"):
        plan.add_argument(f"--{name}", default="")
    return parser


def _act(chosen: argparse.Namespace) -> int:
    allowed = os.environ.get("ALLOW", "").split()
    try:
        if chosen.command == "check":
            return _check(update=switch(os.environ.get("UPDATE", ""), "UPDATE"))
        if chosen.command in ("compare", "plan"):
            return _compare(chosen) if chosen.command == "compare" else _plan(chosen)
        names = list(dict.fromkeys(chosen.experiments.split()))
        if not names:
            raise HarnessError('EXP must name one experiment or several, as in: make report EXP="a b"')
        if chosen.command == "results":
            return _results(names)
        return _write(names, allowed) if chosen.command == "write" else _publish(names, allowed)
    except Unreachable as error:
        again = f"make {'report' if chosen.command == 'write' else chosen.command}"
        again += f' EXP="{chosen.experiments}"' if "experiments" in chosen else " with the same variables"
        raise HarnessError(f"a report is made from the store: {error}; start it, then: make sync, {again}") from error


def _write(names: Sequence[str], allowed: Sequence[str]) -> int:
    tracker = Tracker(ROOT)
    tracker.store.require_answer()
    selections = [looked(select(tracker, name), ROOT) for name in names]
    folder = ROOT / "reports" / "out" / "-".join(map(_folder_name, selections))
    images = [images_of(selection) for selection in selections]
    build(selections, folder, allowed, images, _figures(), rope=switch(os.environ.get("ROPE", ""), "ROPE"))
    for name, selection in zip(names, selections, strict=True):
        tracker.add_to_summary(name, folder)
        _describe(tracker, selection, allowed)
        _print_answer(selection)
    print(f"report: {(folder / 'report.md').relative_to(ROOT)} and report.html")
    return 0


def _figures() -> str:
    return figures(os.environ.get("FIGURES", ""))


def _results(names: Sequence[str]) -> int:
    tracker = Tracker(ROOT)
    tracker.store.require_answer()
    for selection in [looked(select(tracker, name), ROOT) for name in names]:
        print(f"{selection.design.experiment}: {selection.design.question}\n")
        if not selection.records:
            print("No run has a result yet.\n")
            continue
        made = frames.comparisons(selection)
        shown = [tables.variants_table(selection), *([comparison_tables.comparisons_table(made)] if made else [])]
        print("\n\n".join(map(terminal.render, [*shown, tables.runs_table(selection)])), end="\n\n")
    return 0


def _plan(chosen: argparse.Namespace) -> int:
    """Print what the seeds could show, given the spread of recorded runs if there are any and the store answers."""
    recorded = []
    with suppress(TrackingError):
        selection = select(Tracker(ROOT), chosen.experiment)
        recorded = [frames.measured(selection)] if selection.records else []
    experiment = catalog.load(chosen.experiment, ROOT)
    print("\n".join(designed.lines(experiment, chosen.seeds, chosen.variants, recorded)))
    return 0


def _compare(chosen: argparse.Namespace) -> int:
    if bool(chosen.csv) == bool(chosen.mlflow):
        raise HarnessError("compare needs CSV=results.csv or MLFLOW=experiment, one of the two")
    given = {name: getattr(chosen, name) for name in Asked.__dataclass_fields__}
    external, also = read(_table(chosen), Asked(**given)), _figures()
    folder = ROOT / "reports" / "out" / f"compare-{slug(external.name)}"
    _print_sentences(compare.build(external, folder, also))
    print(f"report: {(folder / 'report.md').relative_to(ROOT)} and report.html")
    return 0


def _table(chosen: argparse.Namespace) -> Table:
    if chosen.csv:
        return from_csv(typed_path(chosen.csv, "CSV"))
    tracker = Tracker(ROOT)
    tracker.store.require_answer()
    return from_mlflow(tracker, chosen.mlflow)


def _folder_name(selection: Selection) -> str:
    """The report's folder: the experiment's name, followed by the data set's if that is not the declared one."""
    name = selection.design.experiment
    if "data.name" not in selection.design.changed or not selection.records:
        return name
    return f"{name}-{slug(selection.records[0].started.data.label)}"


def _describe(tracker: Tracker, selection: Selection, allowed: Sequence[str]) -> None:
    """Put the answer and links to the runs on the page of the summary run in MLflow."""
    said = note(selection, tracker.experiment_id(selection.design.experiment), allowed)
    tracker.describe(tracker.record_summary(selection.summary), said)


def _print_answer(selection: Selection) -> None:
    """Print the first sentences of the report."""
    if selection.records:
        _print_sentences([text.text for text in prose.answer(selection, frames.comparisons(selection))])


def _print_sentences(sentences: Sequence[str]) -> None:
    print("", *(textwrap.fill(text, 100) for text in sentences), "", sep="\n")


def _publish(names: Sequence[str], allowed: Sequence[str]) -> int:
    tracker = Tracker(ROOT)
    tracker.store.require_answer()
    selections = [looked(select(tracker, name), ROOT) for name in names]
    folder = ROOT / "reports" / "published" / "-".join(names)
    publish(selections, folder, allowed, [images_of(selection) for selection in selections])
    print(f"published: {folder.relative_to(ROOT)}")
    return 0


def _check(update: bool) -> int:
    """Check all published reports, even if one fails."""
    status = 0
    for folder in sorted(path for path in (ROOT / "reports" / "published").iterdir() if path.is_dir()):
        shown = folder.relative_to(ROOT)
        try:
            if holds_report(folder):
                check(folder, update)
                print(f"{'rebuilt' if update else 'holds'}: {shown}")
            else:
                print(f"skipped: {shown} (not a report)")
        except HarnessError as error:
            print(f"error: {error}", file=sys.stderr)
            status = 2
    return status


def images_of(selection: Selection) -> Images | None:
    """The test images from the cache of decoded data sets; None if this machine does not have them."""
    if not selection.records:
        return None
    cached = open_cached(selection.records[0].started.data.checksum, ROOT)
    return Images(cached.test.images) if cached else None


if __name__ == "__main__":
    sys.exit(main())
