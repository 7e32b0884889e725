"""Results that another program recorded: which columns hold them, checked and converted to one unit.

A metric is a share, like an accuracy, or a number with a unit of its own, like a loss. One rule (`unit_of`), which the
report repeats, decides this and whether shares are fractions (0..1) or percent, unless UNIT= decides it.
"""

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from harness.values import HarnessError, nearest
from reports.external_tables import Table
from reports.measured import PLAIN, POINTS, Unit

UNITS = ("fraction", "percent", "plain")
_SHARES = re.compile(
    r"(^|[^a-z])(acc|accuracy|top\d*|precision|recall|f1|auc|auroc|map|iou|miou|dice|score|err|error)($|[^a-z])"
)
_LOWER = re.compile(r"(^|[^a-z])(loss|nll|err|error|perplexity|ppl|rmse|mse|mae|ece)($|[^a-z])")
_MARGIN = 0.5
"""Default of MARGIN= in points, the same as for experiments."""
_EXACT = 2**53
"""Below it every whole number is a float of its own, so that two seeds stay two."""
_LARGEST = 1e100
"""Results above it would overflow in sums of squares."""


@dataclass(frozen=True)
class Asked:
    """The user's options for a table of results; "" for options that were not given."""

    variant: str = ""
    seed: str = ""
    metric: str = ""
    baseline: str = ""
    margin: str = ""
    unit: str = ""
    lower: str = ""
    """"1" if lower is better, "0" if not, or ""."""


@dataclass(frozen=True)
class External:
    """Checked results in the unit in which they are compared."""

    name: str
    """Name of the file or of the MLflow experiment."""
    results: dict[str, dict[int, float]]
    baseline: str
    metric: str
    margin: float
    unit: Unit
    lower_is_better: bool
    rule: str
    """Sentences on how the unit and the direction were decided."""
    said: tuple[str, ...] = ()
    """Sentences on rows that were left out and on defaults that were used."""


def read(table: Table, asked: Asked) -> External:
    """Read the result of each variant and seed from a table.

    Raises:
        HarnessError: a column is missing or ambiguous; a seed is not a whole number or occurs twice for a variant; a
            result is not finite; the baseline has no results; or there is no other variant.
    """
    variant, seed = (_column(table, *given) for given in (("VARIANT", asked.variant), ("SEED", asked.seed)))
    metric = _metric(table, asked.metric, (variant, seed))
    results: dict[str, dict[int, float]] = {}
    for row, place in zip(table.rows, table.places, strict=True):
        number = _seed(row.get(seed, ""), seed, place)
        name = row.get(variant, "")
        if not name:
            raise HarnessError(f"{place}: `{variant}` must name a variant; got nothing")
        if number in results.setdefault(name, {}):
            raise HarnessError(f"{place}: variant {name!r} has seed {number} a second time; keep one of the two")
        results[name][number] = _result(row.get(metric, ""), metric, f"{place} (variant {name}, seed {number})")
    baseline = _baseline(results, asked.baseline)
    scale, unit, rule = unit_of(metric, [value for runs in results.values() for value in runs.values()], asked.unit)
    scaled = {name: {s: scale * value for s, value in runs.items()} for name, runs in results.items()}
    said = list(table.said)
    if not asked.baseline:
        said.append(f"The baseline is {baseline}, the first variant in the table; BASELINE= names another.")
    words = metric.removeprefix("metrics.").replace("_", " ")
    margin = _margin(asked.margin, unit, words)
    lower = _lower(metric, asked.lower)
    rule += f" {'Lower' if lower else 'Higher'} is better."
    said += _unmatched(scaled, baseline)
    return External(table.name, scaled, baseline, words, margin, unit, lower, rule, tuple(said))


def unit_of(metric: str, values: Sequence[float], asked: str = "") -> tuple[float, Unit, str]:
    """Decide the unit of results.

    A metric whose name is that of a share (accuracy, error, F1 …) is a fraction if no value exceeds 1, and percent if
    all values lie between 1 and 100. Any other metric keeps its own unit.

    Args:
        asked: UNIT=, which decides instead if it is given.

    Returns:
        The factor to multiply results by, their unit, and the rule as a sentence.

    Raises:
        HarnessError: the values could be either, or do not fit the requested unit.
    """
    if asked not in ("", *UNITS):
        raise HarnessError(f"UNIT must be one of {', '.join(UNITS)}; got {asked!r}")
    least, most = min(values), max(values)
    if asked == "plain" or (not asked and not _SHARES.search(metric.lower())):
        why = "as was asked" if asked else "as its name names no share (accuracy, error, F1 …)"
        return 1.0, PLAIN, f"Results are in the unit of {metric} itself, {why}."
    if asked == "fraction" or (not asked and least >= 0 and most <= 1):
        if not 0 <= least <= most <= 1:
            raise HarnessError(f"UNIT=fraction needs results of 0..1; {metric!r} has {least:g} to {most:g}")
        why = "was asked" if asked else "no value exceeds 1"
        return 100.0, POINTS, f"{metric} is taken as a fraction, as {why}, and shown in percent."
    if asked == "percent" or (not asked and least > 1 and most <= 100):
        if not 0 <= least <= most <= 100:
            raise HarnessError(f"UNIT=percent needs results of 0..100; {metric!r} has {least:g} to {most:g}")
        why = "was asked" if asked else "all values exceed 1 and none exceeds 100"
        return 1.0, POINTS, f"{metric} is taken as percent, as {why}."
    raise HarnessError(
        f"{metric!r} has results of {least:g} to {most:g}, of which one cannot tell whether they are fractions or "
        "percent; say UNIT=fraction, percent or plain"
    )


def _column(table: Table, option: str, given: str) -> str:
    """The column that the user named, or else the column with the option's own name, ignoring case."""
    if given:
        if given not in table.columns:
            raise HarnessError(f"{option} must be a column; got {given!r}{_hint(given, table)}")
        return given
    plain = {name: name.rpartition(".")[2].lower() for name in table.columns}
    found = [name for name in table.columns if plain[name] == option.lower()]
    if len(found) != 1:
        why = f"several could be it: {', '.join(found)}" if found else f"there are {_named(table.columns)}"
        raise HarnessError(f"{option} must say which column holds it, as {option}={table.columns[0]}; {why}")
    return found[0]


def _metric(table: Table, given: str, others: Sequence[str]) -> str:
    if given:
        return _column(table, "METRIC", given)
    candidates = [name for name in table.columns if name not in others and not name.startswith(("params.", "tags."))]
    numeric = [name for name in candidates if all(_number(row.get(name, "")) is not None for row in table.rows)]
    if len(numeric or candidates) == 1:  # of a single column each cell that is no number is named
        return (numeric or candidates)[0]
    why = (
        f"several could be it: {_named(numeric)}" if numeric else f"no column is of numbers alone: {_named(candidates)}"
    )
    raise HarnessError(f"METRIC must say which column holds the result; {why}")


def _named(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _hint(given: str, table: Table) -> str:
    return nearest(given, table.columns) or f"; there are {_named(table.columns)}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _seed(text: str, column: str, place: str) -> int:
    with suppress(ValueError):
        return int(text)
    number = _number(text)  # "3.0", as a data frame with a gap writes it
    if number is None or not abs(number) < _EXACT or number != int(number):
        raise HarnessError(f"{place}: `{column}` must be a whole number; got {text!r}")
    return int(number)


def _result(text: str, column: str, place: str) -> float:
    number = _number(text)
    if number is None or not abs(number) < _LARGEST:
        raise HarnessError(
            f"{place}: `{column}` must be a finite number below 1e100; got {text!r}: repeat that run, or remove it"
        )
    return number


def _baseline(results: dict[str, dict[int, float]], given: str) -> str:
    if given and given not in results:
        hint = nearest(given, results) or f"; there are {_named(list(results))}"
        raise HarnessError(f"BASELINE must be a variant; got {given!r}{hint}")
    if len(results) < 2:
        raise HarnessError(f"a comparison needs two variants; there is {_named(list(results))} alone")
    baseline = given or next(iter(results))
    base = results[baseline].keys()
    if not any(runs.keys() & base for name, runs in results.items() if name != baseline):
        raise HarnessError(
            f"no variant shares a seed with the baseline {baseline!r} (seeds {_named(list(map(str, sorted(base))))}); "
            "pairs need runs of the same seeds"
        )
    return baseline


def _margin(text: str, unit: Unit, metric: str) -> float:
    if not text and unit is POINTS:
        return _MARGIN
    number = _number(text)
    if number is None or not math.isfinite(number) or number <= 0:
        what = "points" if unit is POINTS else f"the unit of {metric}"
        got = f"got {text!r}" if text else "none was given"
        raise HarnessError(f"MARGIN must be the smallest difference that matters, a number above 0 in {what}; {got}")
    return number


def _lower(metric: str, given: str) -> bool:
    if given not in ("", "0", "1"):
        raise HarnessError(f"LOWER must be 1, where lower is better, or 0; got {given!r}")
    if not given and _LOWER.search(metric.lower()):
        raise HarnessError(f"METRIC {metric!r} sounds as if lower were better; say LOWER=1, or LOWER=0 if it is not")
    return given == "1"


def _unmatched(results: dict[str, dict[int, float]], baseline: str) -> list[str]:
    """Sentences on runs that have no partner with the same seed."""
    said = []
    for variant, runs in results.items():
        for one, other in ((variant, baseline), (baseline, variant)):
            alone = sorted(results[one].keys() - results[other].keys())
            if alone and runs.keys() & results[baseline].keys():
                seeds = f"seed {alone[0]}" if len(alone) == 1 else f"seeds {_named(list(map(str, alone)))}"
                said.append(f"{one} has {seeds} and {other} has not: no pair of {variant} and {baseline} there.")
    return said
