"""Sensitivity of a design before training: the differences that its seeds could show, given earlier runs' spread."""

from collections.abc import Sequence

from harness.commands import parser
from harness.environment import Machine
from harness.evidence.signs import fewest_pairs
from harness.plans.experiment import Design, Experiment
from harness.plans.plan import plan
from reports.inference import detectable_difference, seeds_needed
from reports.measured import Measured
from reports.statistics import PAIRS_FOR_A_SPREAD, paired
from reports.verdicts import measured as in_words


def design_of(experiment: Experiment, seeds: str, variants: str) -> tuple[Design, int]:
    """The design that the command line asks for, and its number of variants other than the baseline.

    Args:
        seeds, variants: SEEDS= and VARIANTS= as typed.

    Raises:
        SpecError: they cannot be parsed, or the experiment has no such variant.
    """
    machine, chosen = Machine("cpu", False, 1), parser.variants(variants)
    made = plan(experiment, machine, seeds=parser.seeds(seeds), variants=chosen)
    return made.design, len({spec.variant for spec in made.runs} - {made.design.baseline})


def sensitivity(design: Design, others: int, recorded: Measured | None) -> list[str]:
    """Lines on how small a difference these seeds could show.

    Args:
        others: number of variants that are compared with the baseline.
        recorded: existing results of the same experiment, if any.
    """
    pairs, matters = len(design.seeds), in_words(design.smallest_difference_points)
    if not others:
        return ["seeds: one variant alone decides nothing; its mean and spread are all that it shows"]
    if pairs < fewest_pairs():
        count = "1 pair" if pairs == 1 else f"{pairs} pairs"
        return [f"seeds: {count} cannot show any difference, whatever comes out; it takes {fewest_pairs()}"]
    effect = detectable_difference(1.0, pairs, others)
    if effect is None:
        return [f"seeds: {pairs} pairs find no true difference four times in five, however large"]
    said = [
        f"seeds: {pairs} pairs find, four times in five, a true difference of {effect:.2g} times the spread of a "
        f"paired difference; what matters here is {matters}"
    ]
    return said + _by_spread(design, others, pairs, recorded)


def _by_spread(design: Design, others: int, pairs: int, recorded: Measured | None) -> list[str]:
    spread = largest_spread(recorded) if recorded else None
    if spread is None:
        return [f"seeds: that spread is not known before {PAIRS_FOR_A_SPREAD} pairs are recorded"]
    found = detectable_difference(spread, pairs, others)
    assert found is not None
    matters = design.smallest_difference_points
    said = [f"seeds: the recorded runs have a spread of {in_words(spread)}, so that is about {in_words(found)}"]
    if found > matters:
        needed = seeds_needed(spread, matters, others)
        said.append(f"seeds: to find {in_words(matters)} takes about {needed:,}: SEEDS={needed}")
    return said


def largest_spread(recorded: Measured) -> float | None:
    """The largest standard deviation of a variant's paired differences; None if no variant has enough pairs."""
    base = recorded.results[recorded.baseline]
    spreads = [
        float(differences.std(ddof=1))
        for variant, runs in recorded.results.items()
        if variant != recorded.baseline and len(differences := paired(runs, base)) >= PAIRS_FOR_A_SPREAD
    ]
    return max(spreads, default=None)


def lines(experiment: Experiment, seeds: str, variants: str, recorded: Sequence[Measured]) -> list[str]:
    """`sensitivity` for the design that the command line asks for."""
    design, others = design_of(experiment, seeds, variants)
    return sensitivity(design, others, recorded[0] if recorded else None)
