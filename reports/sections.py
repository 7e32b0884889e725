"""The sections of one experiment's part of a report, in their order in the report."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from harness.artifacts.figures import READABLE, save
from reports import (
    certainty,
    classes,
    comparison_figures,
    comparison_tables,
    costs,
    errors,
    figures,
    frames,
    grids,
    guard,
    metrics,
    precision,
    prose,
    recipe,
    tables,
    training,
)
from reports.banners import banners
from reports.checkpoints import Flips
from reports.document import Block, Heading, Picture, Table, Text
from reports.grids import Images
from reports.select import Selection
from reports.statistics import Comparison


@dataclass
class Report:
    """One experiment's part of a report: its blocks so far, and the folder of its figures."""

    selection: Selection
    folder: Path
    prefix: str = ""
    """Prefix of its file names if several experiments share a report."""
    level: int = 2
    """Level of its headings."""
    also: str = ""
    """A second file format for every figure, "pdf" or "svg"."""
    blocks: list[Block] = field(default_factory=list)

    def heading(self, text: str, deeper: int = 0) -> None:
        self.blocks.append(Heading(text, self.level + deeper))

    def draw(self, name: str, figure: Figure, caption: str, *more: Figure, photographs: bool = False) -> None:
        """Save a figure, or several panels of one, beside the report and add it to the blocks.

        Args:
            photographs: see `Picture`.
        """
        files = []
        for number, panel in enumerate((figure, *more), 1):
            files.append(Path("figures") / f"{self.prefix}{name}{f'_{number}' if more else ''}.png")
            (self.folder / files[-1]).parent.mkdir(parents=True, exist_ok=True)
            save(panel, self.folder / files[-1], self.also, small=True)
        self.blocks.append(Picture(files[0], caption, tuple(files[1:]), photographs))

    def add(self, *blocks: Block) -> None:
        self.blocks += blocks


def opening(report: Report, found: Sequence[guard.Difference], allowed: Sequence[str]) -> None:
    """The question, and warnings."""
    selection = report.selection
    report.add(Text(selection.design.question))
    if other := prose.asked_of(selection):
        report.add(other)
    report.add(*banners(selection, found, allowed))
    if selection.absent:
        report.add(absent_table(selection))


def absent_table(selection: Selection) -> Table:
    """A table of planned runs without a result."""
    return Table(("variant", "seed", "no result because"), [(a.variant, a.seed, a.why) for a in selection.absent])


def answer(report: Report, comparisons: Sequence[Comparison], rope: bool) -> None:
    """Section "Answer": which variant is best, and whether that is shown."""
    selection, results = report.selection, frames.results(report.selection)
    unit = frames.unit(selection.design.primary_metric)
    report.heading("Answer")
    report.add(*prose.answer(selection, comparisons))
    if len(comparisons) > 1 and selection.design.compare == "all":
        report.add(certainty.best(selection, frames.every_comparison(selection)))
    report.add(*certainty.predictions(selection, comparisons))
    if comparisons:
        caption = (
            f"Differences from {selection.baseline}: a dot for each pair of runs of one seed, a diamond for their "
        )
        caption += (
            "mean, a line for its 95% interval where there is one; the band is of differences taken not to matter"
        )
        report.draw("forest", comparison_figures.forest(results, comparisons, unit), caption)
    said = (
        certainty.correction(selection, comparisons, joined=bool(report.prefix)),
        certainty.looks(selection, comparisons),
        prose.setting(selection),
        recipe.base_recipe(selection),
        prose.changed(selection),
    )
    report.add(*(text for text in said if text), tables.variants_table(selection))
    if comparisons:
        report.add(comparison_tables.comparisons_table(comparisons, unit))
        if others := frames.every_comparison(selection)[len(comparisons) :]:
            report.add(comparison_tables.pairs_table(others, unit))
        if rope:
            report.add(comparison_tables.posterior_table(frames.measured(selection), comparisons))
        found = precision.precisions(selection)
        report.add(*precision.text(selection, found), *([precision.table(found, unit)] if found else []))
    metric = prose.metric_name(selection)
    figure = comparison_figures.seeds(results, selection.baseline, metric, unit)
    joined = f"; lines join the runs of {selection.baseline} and of a variant that share a seed" if comparisons else ""
    report.draw("seeds", figure, f"Every run's final {metric}; bars are means{joined}")
    report.heading("By other metrics", deeper=1)
    report.add(metrics.table(selection))


def differs(report: Report, found: Sequence[guard.Difference]) -> None:
    """Section "What differs": differences between runs, other than the factor."""
    report.heading("What differs")
    report.add(prose.what_differs(report.selection, found))
    if len(report.selection.variants) > 1:
        report.add(tables.parameters_table(report.selection))
    if found:
        rows = [(d.field, "; ".join(f"{v} ({n})" for v, n in d.values), _could_matter(d)) for d in found]
        report.add(Table(("also differs", "values (runs)", "could change results"), rows))


def _could_matter(difference: guard.Difference) -> str:
    if difference.harmless:
        return "no"
    return "block: the same for all variants of each seed" if difference.block else "yes"


def changed_hands(report: Report, images: Images | None) -> None:
    """Section on errors by image: prediction flips, classes and calibration."""
    selection = report.selection
    found, never = errors.all_flips(selection), grids.wrong_everywhere(selection)
    report.heading("Prediction flips" if found else "Errors")
    report.add(*prose.changed_hands(selection, found, len(never)))
    if found:
        report.add(errors.flips_table(selection, found))
    if images:
        _grids(report, images, found, never)
    _by_class(report, found)
    report.heading("Calibration", deeper=1)
    report.add(errors.calibration_table(selection))
    caption = (
        "Accuracy of images by the network's confidence (reliability diagram); the dashed line is perfect calibration"
    )
    report.draw("calibration", figures.calibration(selection.answers), caption)
    if found:
        report.heading("These checkpoints, on these images", deeper=1)
        report.add(errors.checkpoints_table(selection))


def _grids(report: Report, images: Images, found: dict[str, Flips], never: errors.Indices) -> None:
    selection, variants = report.selection, list(report.selection.variants)
    said = (
        f"The pictures show up to {grids.SHOWN} images each. Above an image is its true class, then for each variant "
        "the most common prediction of its runs, ✓ if right or ✗ if wrong, and the mean probability of that class."
    )
    share = " Where all variants are shown, those that predict the same share a line." * (len(variants) > 2)
    report.add(Text(said + share))
    for variant, flipped in found.items():
        pair = [selection.baseline, variant]
        for name, chosen, wrong, right in (
            ("fixed", flipped.fixed, *pair),
            ("broken", flipped.broken, *reversed(pair)),
        ):
            if len(chosen):
                title = f"{name.capitalize()} by {variant}: {prose.count(len(chosen), 'image')}"
                figure = grids.image_grid(
                    images, grids.clearest_first(selection, chosen, variant), selection, pair, title
                )
                alone = all(len(selection.variants[side]) == 1 for side in pair)
                who = (f"{wrong} gets", right) if alone else (f"most runs of {wrong} get", f"most of {right}")
                said = f"{title} that {who[0]} wrong and {who[1]} right, clearest first"
                report.draw(f"{name}_{variant}", figure, said, photographs=True)
    unstable = grids.most_unstable(selection)
    for name, chosen, title, said in (
        ("unstable", unstable, "Unstable", "on which seeds of one variant disagree"),
        ("always_wrong", never, "Always wrong", "that no run gets right, most confident first"),
    ):
        title = f"{title}: {prose.count(len(chosen), 'image')}"
        if len(chosen):
            figure = grids.image_grid(images, chosen, selection, variants, title)
            report.draw(name, figure, f"{title} {said}", photographs=True)


def _by_class(report: Report, found: dict[str, Flips]) -> None:
    selection, baseline = report.selection, report.selection.baseline
    names = selection.records[0].started.data.classes
    report.heading("By class", deeper=1)
    report.add(classes.table(selection))
    if not found:
        return
    if figure := classes.differences(selection):
        report.draw("per_class", figure, f"Accuracy in each class minus that of {baseline}, points, mean over runs")
    for variant in found:
        figure = classes.confusion_difference(selection.answers[variant], selection.answers[baseline], names)
        caption = f"Confusion matrix of {variant} minus that of {baseline}: images per run, errors off the diagonal"
        if len(names) > READABLE:
            caption = (
                f"Confusions that change most from {baseline} to {variant}, of {len(names):,} classes: images per run"
            )
        report.draw(f"confusion_{variant}", figure, caption)


def cost(report: Report, comparisons: Sequence[Comparison]) -> None:
    """Section "Cost"."""
    selection = report.selection
    report.heading("Cost")
    report.add(*costs.text(selection), costs.table(selection))
    caption = f"{prose.metric_name(selection).capitalize()} against cost; bars are standard deviations"
    if comparisons:
        caption += f". A line joins {selection.baseline} with a variant that is shown to be both better and costlier, "
        caption += "or both worse and cheaper"
    metric, unit = prose.metric_name(selection), frames.unit(selection.design.primary_metric)
    first, *more = costs.panels(selection, comparisons, f"{metric} ({unit.sign})" if unit.sign else metric)
    report.draw("cost", first, caption, *more)


def course(report: Report) -> None:
    """Section "Training": curves, speed and learning rates."""
    selection = report.selection
    report.heading("Training")
    curves = f"By epoch: lines are means over seeds, bands span the seeds.{tables.smoothing(selection)}"
    first, *more = figures.curves(selection)
    report.draw("curves", first, curves.removesuffix("."), *more)
    report.add(training.speed_table(selection))
    caption = "Training loss, and under it the learning rate, by step: the first seed of each variant"
    report.draw("learning_rates", figures.learning_rates(selection), caption)
    if any(record.lr_found for record in selection.records):
        report.draw("lr_finder", figures.lr_finder(selection), "LR range tests; a dot marks each run's suggestion")
        report.add(training.lr_finder_table(selection))


def closing(report: Report) -> None:
    """Published results beside ours, the table of runs, and their provenance."""
    selection = report.selection
    if any(published.variant in selection.variants for published in selection.design.published):
        report.heading("Beside the published results")
        report.add(tables.published_table(selection))
    report.heading("Runs")
    report.add(tables.runs_table(selection), tables.provenance_table(selection))
