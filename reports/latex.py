"""LaTeX tables with booktabs. Only a variant that is shown to be the best is set in bold."""

import re
from collections.abc import Sequence
from pathlib import Path

from reports.measured import Measured
from reports.statistics import Comparison, summarize
from reports.tables import p_value, rounded, spread

_SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
}
_NEGATIVE = re.compile(r"^-(?=\d)")


def escape(text: str) -> str:
    """Escape plain text for a LaTeX table: one line, without commands or comments."""
    return "".join(_SIGNS.get(sign, sign) for sign in " ".join(text.split()))


def best(found: Measured, comparisons: Sequence[Comparison]) -> str | None:
    """The declared variant that is shown to be the best, or None.

    It is the baseline if every other variant is shown to be worse, or another variant if it is shown to be better than
    the baseline and all remaining ones are shown to be worse than the baseline.
    """
    verdicts = {c.variant: c.verdict for c in comparisons}
    others = [variant for variant in found.variants if variant != found.baseline]
    better = [variant for variant in others if verdicts.get(variant) == "better"]
    worse = [variant for variant in others if verdicts.get(variant) == "worse"]
    if others and len(worse) == len(others):
        return found.baseline
    return better[0] if len(better) == 1 and len(worse) == len(others) - 1 else None


def write(found: Measured, comparisons: Sequence[Comparison], folder: Path, prefix: str = "") -> None:
    """Write `summary.tex` and, if anything was compared, `comparisons.tex` into a folder."""
    (folder / f"{prefix}summary.tex").write_text(summary(found, comparisons), encoding="utf-8")
    if comparisons:
        text = comparisons_table(found, comparisons)
        (folder / f"{prefix}comparisons.tex").write_text(text, encoding="utf-8")


def summary(found: Measured, comparisons: Sequence[Comparison]) -> str:
    """Mean ± standard deviation over seeds, a row per variant."""
    top, unit, rows = best(found, comparisons), found.unit, []
    for variant, runs in found.results.items():
        made = summarize(list(runs.values()))
        mean = spread(made.mean, made.std, 2) if unit.sign else rounded(made.mean, made.std)
        cells = [escape(variant), str(made.n), escape(mean)]
        rows.append([rf"\textbf{{{cell}}}" for cell in cells] if variant == top else cells)
    metric = f"{found.metric} ({unit.sign})" if unit.sign else found.metric
    return _tabular("lrr", ("variant", "seeds", metric), rows, "Bold: shown to be the best of all variants.")


def comparisons_table(found: Measured, comparisons: Sequence[Comparison]) -> str:
    """Differences from the baseline with their intervals, a row per comparison."""
    unit, top, rows = found.unit, best(found, comparisons), []
    for c in comparisons:
        low, high = (None if end is None else _signed(unit.signed(end)) for end in (c.ci_low, c.ci_high))
        interval = "--" if low is None or high is None else f"{low} to {high}"
        name = rf"\textbf{{{escape(c.variant)}}}" if c.variant == top else escape(c.variant)
        cells = [_signed(unit.signed(c.mean_difference)), interval, str(c.n_pairs), escape(p_value(c.p_adjusted))]
        rows.append([name, *cells, c.verdict])
    titles = (f"minus {found.baseline}", unit.of("difference"), r"95% interval", "pairs", "p", "verdict")
    return _tabular("lrrrrl", titles, rows, "p is corrected for all comparisons.")


def _signed(text: str) -> str:
    return _NEGATIVE.sub("$-$", text)


def _tabular(columns: str, titles: Sequence[str], rows: Sequence[Sequence[str]], said: str) -> str:
    r"""A LaTeX table; cells are LaTeX already, titles are plain text. Needs \usepackage{booktabs}."""
    lines = [" & ".join(row) + r" \\" for row in rows]
    head = " & ".join(map(escape, titles)) + r" \\"
    body = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join([rf"% {said} Needs \usepackage{{booktabs}}.", *body]) + "\n"
