"""The report on results of another program, with the same tests and wording; without the sections that need images."""

from pathlib import Path

import pandas as pd

from harness.artifacts.figures import save
from harness.artifacts.spreadsheet import write_csv
from reports import (
    comparison_figures,
    comparison_tables,
    frames,
    html,
    latex,
    markdown,
    precision,
    prose,
    tables,
    words,
)
from reports.build import replacing
from reports.document import Banner, Block, Document, Heading, Picture, Table, Text
from reports.external import External
from reports.measured import Measured
from reports.statistics import Comparison, summarize
from reports.verdicts import explain
from reports.verdicts import measured as in_words


def build(external: External, folder: Path, also: str = "") -> list[str]:
    """Replace `folder` by the report with its figures and tables; returns its first sentences.

    Args:
        also: "pdf" or "svg" to write every figure in that format too.
    """
    found = Measured(
        results=external.results,
        baseline=external.baseline,
        metric=external.metric,
        variants=tuple(external.results),
        smallest_difference=external.margin,
        unit=external.unit,
        lower_is_better=external.lower_is_better,
    )
    comparisons = found.compared()
    answer = [prose.ranking(found, comparisons), *(explain(c, found.unit) for c in comparisons)]
    with replacing(folder) as fresh:
        blocks = [*_opening(external, found, answer), *_pictures(found, comparisons, fresh, also)]
        blocks += _tables(external, found, comparisons)
        document = Document(external.name, tuple(blocks))
        (fresh / "report.md").write_text(markdown.render(document), encoding="utf-8")
        (fresh / "report.html").write_text(html.render(document, fresh), encoding="utf-8")
        write_csv(_summary(found), fresh / "summary.csv")
        write_csv(frames.comparisons_frame(comparisons), fresh / "comparisons.csv")
        latex.write(found, comparisons, fresh)
    return answer


def _opening(external: External, found: Measured, answer: list[str]) -> list[Block]:
    where = "The results were trained elsewhere: which images, code and machines they come from is not known here, nor "
    where += "whether anything but the variant differs between them."
    said = [*external.said]
    if found.unpaired:
        said.append(f"No seed in common with {found.baseline}, so not compared: {', '.join(found.unpaired)}.")
    matters = f"Differences below {in_words(found.smallest_difference, found.unit)} are taken not to matter."
    return [
        Text(f"Which variant has the best {found.metric}?"),
        Banner(where),
        *(Banner(text) for text in said),
        Heading("Answer"),
        *(Text(text) for text in answer),
        Text(
            f"Every variant is compared with {found.baseline}, run by run of the same seed. {matters} {external.rule}"
        ),
    ]


def _pictures(found: Measured, comparisons: tuple[Comparison, ...], folder: Path, also: str) -> list[Block]:
    drawn = {
        "forest": (
            comparison_figures.forest(found.results, comparisons, found.unit),
            f"Differences from {found.baseline}: a dot for each pair of runs of one seed, a diamond for their mean, a "
            "line for its 95% interval where there is one; the band is of differences taken not to matter",
        ),
        "seeds": (
            comparison_figures.seeds(found.results, found.baseline, found.metric, found.unit),
            f"Every run's {found.metric}; bars are means; lines join the runs of {found.baseline} and of a variant "
            "that share a seed",
        ),
    }
    blocks: list[Block] = []
    for name, (figure, caption) in drawn.items():
        file = Path("figures") / f"{name}.png"
        (folder / file).parent.mkdir(exist_ok=True)
        save(figure, folder / file, also, small=True)
        blocks.append(Picture(file, caption))
    return blocks


def _tables(external: External, found: Measured, comparisons: tuple[Comparison, ...]) -> list[Block]:
    blocks: list[Block] = [_variants(found), comparison_tables.comparisons_table(comparisons, found.unit)]
    if made := precision.of_results(found.results, found.baseline):
        blocks += [*(Text(text) for text in precision.gain(made)), precision.table(made, found.unit)]
    rows = [
        (variant, seed, found.unit.plain(value))
        for variant, runs in external.results.items()
        for seed, value in sorted(runs.items())
    ]
    title = f"{found.metric} {found.unit.sign}".rstrip()
    return [
        *blocks,
        Heading("Runs"),
        Table(("variant", "seed", title), rows),
        Heading("Words"),
        words.table(trained_elsewhere=True),
    ]


def _variants(found: Measured) -> Table:
    rows = []
    for variant, runs in found.results.items():
        made, unit = summarize(list(runs.values())), found.unit
        mean = tables.spread(made.mean, made.std, 2) if unit.sign else tables.rounded(made.mean, made.std)
        rows.append((variant, made.n, mean, unit.plain(made.low), unit.plain(made.high)))
    columns = ("variant", "seeds", f"{found.metric} {found.unit.sign}".rstrip(), "lowest", "highest")
    return Table(columns, rows, "Mean ± standard deviation over seeds.")


def _summary(found: Measured) -> pd.DataFrame:
    rows = []
    for variant, runs in found.results.items():
        made = summarize(list(runs.values()))
        row = {"variant": variant, "n": made.n, "metric": found.metric, "mean": made.mean, "std": made.std}
        rows.append(row | {"low": made.low, "high": made.high})
    return pd.DataFrame(rows)
