"""Writes docs/simulations.md: what docs/statistics.md claims, simulated with the project's own procedures.

`make simulate`; some ten minutes on one core. Seeds are fixed: the same code gives the same numbers.
"""

import sys
from collections.abc import Iterable, Sequence
from itertools import product
from math import sqrt
from pathlib import Path

from tests.simulations import cells

ROOT = Path(__file__).resolve().parent.parent.parent
SYMMETRIC = ("normal", "exponential", "t3", "accuracy")
_HEAD = """# Simulations

Written by `make simulate` with the procedures that reports use. Results of runs are normal, exponential (skewed),
Student's t with 3 degrees (heavy tails), or accuracies of 359 images; variants share a baseline, so their differences
correlate. Effects and margins are in spreads (standard deviations) of a paired difference. After each rate stands its
Monte-Carlo standard error. What it means: [statistics.md](statistics.md).
"""


def main() -> int:
    """Write the tables; returns the exit status."""
    parts = [_HEAD, *errors(), *intervals(), *powers(), *equivalence(), *looks()]
    (ROOT / "docs" / "simulations.md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    return 0


def rate(share: float, draws: int) -> str:
    """0.047 ± 0.005."""
    return f"{share:.3f} ± {max(sqrt(share * (1 - share) / draws), 0.0005):.3f}"


def table(title: str, said: str, columns: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    print(title, file=sys.stderr, flush=True)
    lines = [f"| {' | '.join(map(str, row))} |" for row in (columns, ["---"] * len(columns), *rows)]
    return [f"## {title}\n", f"{said}\n", *lines, ""]


def errors() -> list[str]:
    """Family-wise error of better and worse."""
    sizes = {5: 2000, 6: 4000, 7: 4000, 8: 4000, 10: 4000, 14: 1500}
    rows = []
    for kind, (variants, differing) in product(SYMMETRIC, ((1, 0), (3, 0), (3, 2), (6, 0), (6, 3))):
        made = [rate(cells.familywise_error(kind, n, variants, differing, d), d) for n, d in sizes.items()]
        rows.append((kind, variants, differing, *made))
    said = "How often any variant without a true difference is called better or worse (5% is promised)."
    first = table("Errors of better and worse", said, ("results", "variants", "that differ", *sizes), rows)
    sizes = {6: 4000, 7: 4000, 10: 4000, 14: 1500}
    rows = [(k, *(rate(cells.familywise_error("skewed", n, k, 0, d), d) for n, d in sizes.items())) for k in (1, 3, 6)]
    said = "The same where differences have a long tail (exponential): the assumption is broken, and the error with it."
    second = table("Where differences are skewed", said, ("variants", *sizes), rows)
    rows = [(kind, rate(cells.familywise_error(kind, 20, 3, 0, 300), 300)) for kind in ("normal", "t3")]
    return [*first, *second, *table("Twenty seeds", "Three variants, none differs.", ("results", "error"), rows)]


def intervals() -> list[str]:
    """Coverage."""
    rows = []
    for kind, variants, effect in product((*SYMMETRIC, "skewed"), (1, 3), (0.0, 1.0)):
        made = [cells.coverage(kind, n, variants, effect, 2000) for n in (6, 7, 10)]
        pairs = [f"{rate(alone, 2000)}, {rate(together, 2000)}" for alone, together in made]
        rows.append((kind, variants, effect, *pairs))
    said = "How often a 95% interval holds the true difference: each alone, and all of an experiment at once."
    return table("Coverage of intervals", said, ("results", "variants", "effect", "6", "7", "10"), rows)


def powers() -> list[str]:
    """Power beside Holm."""
    cases = (
        (3, 3, 6, 2.0),
        (3, 3, 7, 1.5),
        (3, 1, 7, 1.5),
        (6, 6, 7, 1.5),
        (6, 1, 8, 1.5),
        (3, 1, 10, 1.2),
        (1, 1, 6, 2.0),
    )
    rows = []
    for variants, differing, n, effect in cases:
        together, holm = cells.power(n, variants, differing, effect, 2000)
        rows.append((variants, differing, n, effect, rate(together, 2000), rate(holm, 2000)))
    said = "How often the difference of one variant is shown, of normal results."
    columns = ("variants", "that differ", "seeds", "effect", "joint sign flips", "sign flips with Holm")
    return table("Power", said, columns, rows)


def equivalence() -> list[str]:
    """Errors of equivalence."""
    rows = []
    for kind, variants, margin in product(SYMMETRIC, (1, 3, 6), (1.0, 2.5)):
        made = [rate(cells.equivalence_error(kind, n, variants, margin, 3000), 3000) for n in (6, 7, 10)]
        rows.append((kind, variants, margin, *made))
    said = "All variants differ by just the margin; how often any is called equivalent."
    return table("Errors of equivalence", said, ("results", "variants", "margin", "6", "7", "10"), rows)


def looks() -> list[str]:
    """Looks that are paid for, and such that are not."""
    rows = [(kind, k, rate(cells.unpaid(kind, k, 3000), 3000)) for kind, k in product(("normal", "t3"), (1, 3))]
    said = "Looking at 7, 10 and 14 seeds with the test of one look, no variant differs."
    first = table("Looks that nobody pays for", said, ("results", "variants", "error"), rows)
    columns = ("results", "variants", "effect", "margin", "any shown", "shown", "any equivalent", "futile", "seeds")
    rows, draws = [], 400
    for kind, variants, effect, margin in (
        *(("normal", k, effect, 0.5) for k in (1, 3) for effect in (0.0, 0.5, 1.0, 2.0)),
        ("exponential", 3, 0.0, 0.5), ("t3", 3, 0.0, 0.5), ("accuracy", 3, 0.0, 0.5),
        ("normal", 3, 1.0, 1.0), ("normal", 3, 2.5, 2.5), ("t3", 3, 1.0, 1.0),
    ):  # fmt: skip
        found = cells.paid(kind, variants, effect, margin, draws)
        shares = [rate(found[name], draws) for name in ("any shown", "shown", "any equivalent", "futile")]
        rows.append((kind, variants, effect, margin, *shares, f"{found['seeds']:.1f}"))
    said = (
        "Looks at 7, 10, 14 and 20 seeds; a variant stops once decided. Where no variant differs, any that is shown is "
    )
    said += "an error; where the effect is the margin, any called equivalent is. Seeds: the mean a variant takes."
    second = table("Looks that are paid for", said, columns, rows)
    rows = [(k, effect, rate(cells.fixed(20, k, effect, 200), 200)) for k in (1, 3) for effect in (0.5, 1.0)]
    said = (
        "For comparison: a fixed number of 20 seeds, one look; how often a variant that differs, as all do, is shown."
    )
    return [*first, *second, *table("Twenty seeds, one look", said, ("variants", "effect", "shown"), rows)]


if __name__ == "__main__":
    sys.exit(main())
