"""From a selection of runs to a report: its sections, its figures, its CSV files."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from harness.figures import save
from harness.spreadsheet import write_csv
from reports import errors, figures, frames, guard, html, markdown, tables, training
from reports.document import Banner, Block, Document, Heading, Picture, Table, Text
from reports.errors import Images
from reports.select import Selection
from reports.statistics import Comparison, compare, explain


@dataclass
class Report:
    """One experiment's part of a report: its blocks so far, and where its figures go."""

    selection: Selection
    folder: Path
    prefix: str = ""
    """Of its files' names, where several experiments share a report."""
    level: int = 2
    """Of its headings."""
    blocks: list[Block] = field(default_factory=list)

    def heading(self, text: str, deeper: int = 0) -> None:
        self.blocks.append(Heading(text, self.level + deeper))

    def draw(self, name: str, figure: Figure, caption: str) -> None:
        """Save a figure beside the report and show it."""
        file = Path("figures") / f"{self.prefix}{name}.png"
        (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
        save(figure, self.folder / file)
        self.blocks.append(Picture(file, caption))

    def add(self, *blocks: Block) -> None:
        self.blocks += blocks


def build(
    selections: Sequence[Selection], folder: Path, allowed: Sequence[str], images: Sequence[Images | None]
) -> Document:
    """Put a report, its figures and its CSV files in the place of `folder`, all at once, and return its text.

    Args:
        allowed: dotted fields in which runs may differ although it could change results.
        images: for each selection its test images, if they are at hand.

    Raises:
        NotComparable: runs differ in more than the factor and `allowed` does not name it; nothing is written.
    """
    for selection in selections:
        guard.refuse(guard.differences(selection.records, selection.design.factor), allowed)
    with replacing(folder) as fresh:
        return _build(selections, fresh, allowed, images)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder that takes `folder`'s place when all went well, and is gone when it did not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as made:
        fresh = Path(made) / folder.name
        fresh.mkdir()
        yield fresh
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)


def _build(
    selections: Sequence[Selection], folder: Path, allowed: Sequence[str], images: Sequence[Images | None]
) -> Document:
    blocks: list[Block] = []
    for selection, at_hand in zip(selections, images, strict=True):
        if len(selections) == 1:
            report = Report(selection, folder)
        else:
            blocks.append(Heading(selection.design.experiment))
            report = Report(selection, folder, f"{selection.design.experiment}_", level=3)
        _experiment(report, allowed, at_hand)
        blocks += report.blocks
    title = " and ".join(selection.design.experiment for selection in selections)
    document = Document(title, tuple(blocks))
    (folder / "report.md").write_text(markdown.render(document), encoding="utf-8")
    (folder / "report.html").write_text(html.render(document, folder), encoding="utf-8")
    return document


def _experiment(report: Report, allowed: Sequence[str], images: Images | None) -> None:
    selection = report.selection
    report.add(Text(selection.design.question))
    if not selection.records:
        report.add(Banner("No run has a result yet."), _absent_table(selection))
        return
    found = guard.differences(selection.records, selection.design.factor)
    mattering = guard.refuse(found, allowed)
    for difference in mattering:
        report.add(Banner(f"Compared all the same, because it was allowed: {difference}"))
    if selection.absent:
        asked = len(selection.records) + len(selection.absent)
        report.add(Banner(f"{len(selection.absent)} of {asked} runs have no result."), _absent_table(selection))
    results, baseline = frames.results(selection), selection.baseline
    unpaired = [variant for variant, runs in results.items() if not runs.keys() & results[baseline].keys()]
    if unpaired:
        report.add(Banner(f"No seed in common with {baseline}, so not compared: {', '.join(unpaired)}."))
    paired = {variant: runs for variant, runs in results.items() if variant not in unpaired}
    comparisons = compare(paired, baseline, selection.design.smallest_difference_points)
    _answer(report, comparisons)
    _differs(report, found)
    _training(report)
    _errors(report, images)
    _cost(report)
    if any(published.variant in selection.variants for published in selection.design.published):
        report.heading("Beside the published results")
        report.add(tables.published_table(selection))
    _runs(report)
    files = {
        "runs": frames.runs_frame(selection),
        "summary": frames.summary_frame(selection),
        "comparisons": frames.comparisons_frame(comparisons),
        "flips": errors.flips_frame(selection),
    }
    for name, frame in files.items():
        write_csv(frame, report.folder / f"{report.prefix}{name}.csv")


def _answer(report: Report, comparisons: Sequence[Comparison]) -> None:
    selection = report.selection
    first = selection.records[0].started
    matters = selection.design.smallest_difference_points
    report.heading("Answer")
    report.add(
        Text(
            f"Images: {first.data.label}, {first.data.train_images:,} for training and {first.data.test_images:,} for "
            f"testing. Baseline: {selection.baseline}. Differences below {matters:g} points do not matter here."
        ),
    )
    for comparison in comparisons:
        report.add(Text(explain(comparison), selection.numbers(comparison.variant, comparison.baseline)))
    report.add(tables.variants_table(selection))
    if comparisons:
        report.add(tables.comparisons_table(comparisons))
    results = frames.results(selection)
    report.draw("seeds", figures.seeds(results, selection.baseline), "Every run's final test accuracy, seeds joined")


def _differs(report: Report, found: Sequence[guard.Difference]) -> None:
    report.heading("What differs")
    if len(report.selection.variants) > 1:
        report.add(tables.parameters_table(report.selection))
    if found:
        rows = [(d.field, "; ".join(f"{v} ({n})" for v, n in d.values), "no" if d.harmless else "yes") for d in found]
        report.add(Table(("also differs", "values (runs)", "could change results"), rows))
    else:
        report.add(Text("Nothing else differs between these runs.", report.selection.numbers()))


def _training(report: Report) -> None:
    selection = report.selection
    report.heading("Training")
    report.draw("curves", figures.curves(selection), "Mean over seeds; the band spans the seeds")
    report.add(training.speed_table(selection))
    report.draw(
        "learning_rates", figures.learning_rates(selection), "Training loss over the learning rate, first seeds"
    )
    if any(record.lr_found for record in selection.records):
        report.draw("lr_finder", figures.lr_finder(selection), "LR range tests; a dot marks each run's suggestion")
        report.add(training.lr_finder_table(selection))


def _errors(report: Report, images: Images | None) -> None:
    selection = report.selection
    classes = selection.records[0].started.data.classes
    report.heading("Errors")
    found = errors.all_flips(selection)
    if found:
        report.add(errors.flips_table(selection, found))
    if images:
        hard = errors.wrong_everywhere(selection)
        variants = list(selection.variants)
        if len(hard):
            title = f"Wrong in every run ({len(hard)} images), surest first"
            report.draw("always_wrong", errors.image_grid(images, hard, selection, variants, title), title)
        for variant, flipped in found.items():
            for name, chosen in (("fixed", flipped.fixed), ("broken", flipped.broken)):
                if len(chosen):
                    title = f"{name.capitalize()} by {variant} ({len(chosen)} images, by most runs)"
                    pair = [selection.baseline, variant]
                    figure = errors.image_grid(images, chosen, selection, pair, title)
                    report.draw(f"{name}_{variant}", figure, title)
    if found:
        records, baseline = selection.variants, selection.baseline
        caption = f"Per-class accuracy minus that of {baseline}, points"
        report.draw("per_class", figures.per_class(records, baseline, classes), caption)
        for variant in found:
            figure = figures.confusion_difference(records, variant, baseline, classes)
            report.draw(f"confusion_{variant}", figure, f"Confusion matrix of {variant} minus {baseline}, images a run")
    report.add(errors.calibration_table(selection))
    report.draw("calibration", figures.calibration(selection.variants, errors.confidence), "Reliability diagram")
    if found:
        report.heading("These checkpoints, on these images", deeper=1)
        report.add(errors.checkpoints_table(selection))


def _cost(report: Report) -> None:
    report.heading("Cost")
    report.add(tables.cost_table(report.selection))
    caption = "Accuracy against cost; bars are standard deviations, the line joins the Pareto front"
    report.draw("cost", figures.cost(frames.summary_frame(report.selection)), caption)


def _runs(report: Report) -> None:
    report.heading("Runs")
    report.add(tables.runs_table(report.selection), tables.provenance_table(report.selection))


def _absent_table(selection: Selection) -> Table:
    return Table(("variant", "seed", "no result because"), [(a.variant, a.seed, a.why) for a in selection.absent])
