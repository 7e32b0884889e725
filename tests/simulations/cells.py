"""One cell of a table each: how often the project's own procedures err or find, over many invented experiments."""

import numpy as np

from harness.evidence.looks import LOOKS, decide
from harness.evidence.signs import ALPHA, statistics, step_down
from reports.inference import equivalence_p, sign_flip_p
from reports.intervals import intervals
from tests.simulations.draws import Array, differences, named


def effects(variants: int, differing: int, effect: float) -> Array:
    """The first so many of all variants differ by the effect, the others not at all."""
    return np.where(np.arange(variants) < differing, effect, 0.0)


def joint(rows: Array) -> Array:
    """Corrected p-values, (variants,)."""
    return step_down(statistics(rows))


def holm(rows: Array) -> Array:
    """What decided before: each variant's own sign-flip test, corrected by Holm's method (1979)."""
    p_values, running = [sign_flip_p(row) for row in rows], 0.0
    adjusted = np.empty(len(rows))
    for rank, row in enumerate(np.argsort(p_values, kind="stable")):
        running = adjusted[row] = max(running, min(1.0, (len(rows) - rank) * p_values[row]))
    return adjusted


def familywise_error(kind: str, n: int, variants: int, differing: int, draws: int) -> float:
    """How often any variant without a true difference is called better or worse; the others differ by 2 spreads."""
    truth = effects(variants, differing, 2.0)
    found = [joint(rows)[differing:].min() < ALPHA for rows in differences(kind, draws, truth, n)]
    return float(np.mean(found))


def power(n: int, variants: int, differing: int, effect: float, draws: int) -> tuple[float, float]:
    """How often the first variant's difference is shown, of normal results: by joint sign flips, and with Holm."""
    drawn = differences("normal", draws, effects(variants, differing, effect), n)
    shown = [(joint(rows)[0] < ALPHA, holm(rows)[0] < ALPHA) for rows in drawn]
    together, alone = np.mean(shown, axis=0)
    return float(together), float(alone)


def coverage(kind: str, n: int, variants: int, effect: float, draws: int) -> tuple[float, float]:
    """How often an interval holds the true difference: of one variant, and of all at once."""
    truth, held = effects(variants, variants, effect), []
    for rows in differences(kind, draws, truth, n):
        bounds = intervals(rows, np.ones(rows.shape, dtype=bool), (joint(rows) < ALPHA).tolist())
        held.append([b is None or b[0] <= effect <= b[1] for b in bounds])
    return float(np.mean(held)), float(np.mean(np.all(held, axis=1)))


def equivalence_error(kind: str, n: int, variants: int, margin: float, draws: int) -> float:
    """How often any of several variants that differ by just the margin is called equivalent."""
    drawn = differences(kind, draws, effects(variants, variants, margin), n)
    there = np.ones((variants, n), dtype=bool)
    return float(np.mean([equivalence_p(rows, there, margin).min() < ALPHA for rows in drawn]))


def unpaid(kind: str, variants: int, draws: int, looks: tuple[int, ...] = LOOKS[:3]) -> float:
    """How often any variant is called better or worse at any of several looks that nobody pays for."""
    drawn = differences(kind, draws, effects(variants, 0, 0.0), looks[-1])
    return float(np.mean([any(joint(rows[:, :look]).min() < ALPHA for look in looks) for rows in drawn]))


_TOTALS = ("shown", "equivalent", "futile", "open", "any shown", "any equivalent", "seeds")


def paid(
    kind: str, variants: int, effect: float, margin: float, draws: int, looks: tuple[int, ...] = LOOKS
) -> dict[str, float]:
    """What looks decide of variants that all differ by the effect, which stop once they are decided.

    Returns:
        Shares of all variants: "shown", "equivalent", "futile", "open"; "any shown" and "any equivalent", of all
        experiments; "seeds", the mean number that a variant took.
    """
    totals: dict[str, float] = dict.fromkeys(_TOTALS, 0.0)
    for rows in differences(kind, draws, effects(variants, variants, effect), looks[-1]):
        made, outcomes = named(rows, looks[0]), list[str]()
        for at, look in enumerate(looks):
            decisions = decide(made, range(look), looks, margin)
            outcomes = [{"better": "shown", "worse": "shown"}.get(d.outcome, d.outcome) for d in decisions.values()]
            if look == looks[-1] or "open" not in outcomes:
                break
            more = range(look, looks[at + 1])
            for name, row, outcome in zip(made, rows, outcomes, strict=True):
                made[name] |= {seed: float(row[seed]) for seed in more} if outcome == "open" else {}
        for outcome in outcomes:
            totals[outcome] += 1 / variants
        totals["any shown"] += "shown" in outcomes
        totals["any equivalent"] += "equivalent" in outcomes
        totals["seeds"] += sum(map(len, made.values())) / variants
    return {name: total / draws for name, total in totals.items()}


def fixed(n: int, variants: int, effect: float, draws: int) -> float:
    """How often the first of several variants that all differ is shown at one look, of normal results."""
    drawn = differences("normal", draws, effects(variants, variants, effect), n)
    return float(np.mean([joint(rows)[0] < ALPHA for rows in drawn]))
