"""Tables for a paper: any name is set as it is, and bold is only what the runs show to be best."""

import re

import pytest

from reports import latex
from reports.latex import best, escape
from reports.measured import Measured

LOW = {seed: 70 + seed / 10 for seed in range(10)}
HIGH = {seed: 75 + seed / 10 for seed in range(10)}
HIGHEST = {seed: 80 + seed / 10 for seed in range(10)}


def _found(**results: dict[int, float]) -> Measured:
    return Measured(results, next(iter(results)), "test accuracy", tuple(results), 0.5)


def test_every_special_character_is_escaped() -> None:
    """No name can begin a command, a comment, a column or a formula."""
    assert escape("a_b & 5% of $x^2\\{~}#") == (
        r"a\_b \& 5\% of \$x\textasciicircum{}2\textbackslash{}\{\textasciitilde{}\}\#"
    )
    assert escape("75.1 ± 0.2\n< −3") == r"75.1 $\pm$ 0.2 \textless{} $-$3"


@pytest.mark.parametrize(
    ("results", "shown"),
    [
        ({"a": HIGH, "b": LOW, "c": LOW}, "a"),
        ({"a": LOW, "b": HIGH}, "b"),
        ({"a": HIGH, "b": HIGHEST, "c": LOW}, "b"),
        ({"a": LOW, "b": HIGH, "c": HIGHEST}, None),
        ({"a": HIGH, "b": HIGH, "c": LOW}, None),
        ({"a": HIGH}, None),
    ],
)
def test_bold_is_what_is_shown_to_be_best(results: dict[str, dict[int, float]], shown: str | None) -> None:
    """Against the baseline alone variants are compared: of two that beat it neither is shown to beat the other."""
    found = _found(**results)
    made = found.compared()
    assert best(found, made) == shown
    text = latex.summary(found, made)
    assert re.findall(r"^\\textbf\{(\w+)\}", text, re.MULTILINE) == ([shown] if shown else [])


def test_a_declared_variant_that_did_not_run_leaves_nothing_best() -> None:
    """It may be better."""
    found = Measured({"a": HIGH, "b": LOW}, "a", "test accuracy", ("a", "b", "c"), 0.5)
    assert best(found, found.compared()) is None


def test_the_tables_are_whole() -> None:
    """As many cells in every row as in the title, rules of booktabs, differences with a true minus."""
    found = _found(base_1=HIGH, other=LOW)
    for text in (latex.summary(found, found.compared()), latex.comparisons_table(found, found.compared())):
        first, *lines = text.splitlines()
        assert first.startswith("% ")
        assert (lines[1], lines[3], lines[-2:]) == (r"\toprule", r"\midrule", [r"\bottomrule", r"\end{tabular}"])
        rows = [line for line in lines if line.endswith(r" \\")]
        assert len({row.count(" & ") for row in rows}) == 1
    assert r"other & $-$5.00" in text
