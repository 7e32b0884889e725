"""UNTIL=decided: look at the results at declared numbers of seeds, and stop each variant once it is decided.

The looks are declared before the first run and recorded with every run; the error over all looks and variants is at
most 5% (`harness.evidence.looks`). The same results always give the same decisions, so a stopped command can resume.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from harness.evidence import metrics
from harness.evidence.looks import Decision, decide, spend
from harness.execution.made import find_made
from harness.plans.experiment import Design
from harness.plans.looks import Look
from harness.plans.plan import Plan
from harness.plans.spec import RunSpec
from harness.records import looks as journal
from harness.records.events import Finished
from harness.records.record import Record
from harness.records.results import result, scale
from harness.tracking.tracker import Summary
from harness.values import SpecError

if TYPE_CHECKING:
    from harness.execution.execute import Outcome

Results = Mapping[str, Mapping[int, float]]
"""Variant → seed → the primary metric, in percent if it is a fraction."""


def until(plan: Plan, root: Path, make: Callable[[Plan], "Outcome"]) -> tuple[Plan, "Outcome"]:
    """Make a plan's runs look by look, each variant until it is decided; the baseline runs as long as any other does.

    Args:
        plan: with as many seeds as the last look.
        root: the project's folder.
        make: makes the missing runs of a plan, as `make run` does.

    Returns:
        The part of the plan that was needed, and the outcome of making it.

    Raises:
        SpecError: existing runs declare other looks.
    """
    design, folder = plan.design, root / "runs" / plan.design.experiment
    _refuse_other_looks(design, folder)
    _warn_of_earlier_looks(folder)
    decisions = {v: Decision(v, "open", 0, 0.0, "") for v in plan.recipes if v != design.baseline}
    for number, look in enumerate(design.looks, 1):
        part = _part(plan, look, decisions)
        outcome = make(part)
        if outcome.signal is not None:
            return part, outcome
        found = results(root, part)
        decisions = _decide(design, look, decisions, found)
        seen = sorted({seed for runs in found.values() for seed in runs})
        variants, runs = tuple(sorted(v for v in found if found[v])), sum(map(len, found.values()))
        journal.note(folder, Look(time=time.time(), seeds=tuple(seen), variants=variants, runs=runs, planned=True))
        _say(number, look, design, decisions)
        if all(decision.outcome != "open" for decision in decisions.values()) or look == design.looks[-1]:
            return part, outcome
    raise AssertionError("a plan that is run until it is decided has looks")


def results(root: Path, plan: Plan) -> dict[str, dict[int, float]]:
    """Variant → seed → the primary metric (in percent if it is a fraction), for the plan's finished runs."""
    found: dict[str, dict[int, float]] = {variant: {} for variant in plan.recipes}
    for spec in plan.runs:
        score = _result(root, spec, plan.design.primary_metric)
        if score is not None:
            found[spec.variant][spec.seed] = scale(plan.design.primary_metric) * score
    return found


def _result(root: Path, spec: RunSpec, metric: str) -> float | None:
    made = find_made(root, spec)
    if made is None or made.problem or not any(isinstance(event, Finished) for event in made.events):
        return None
    predictions = made.folder / "artifacts" / "predictions.npz"
    return result(Record(made.folder.name, spec.key, tuple(made.events), predictions), metric)


def _part(plan: Plan, look: int, decisions: Mapping[str, Decision]) -> Plan:
    """The runs up to a look: a decided variant keeps the seeds that it had at its decision."""
    seeds = plan.design.seeds
    counts = {v: look if d.outcome == "open" else d.seeds for v, d in decisions.items()} | {plan.design.baseline: look}
    runs = tuple(spec for spec in plan.runs if spec.seed in seeds[: counts[spec.variant]])
    return replace(plan, runs=runs, design=plan.design.model_copy(update={"seeds": seeds[:look]}))


def _decide(design: Design, look: int, before: Mapping[str, Decision], found: Results) -> dict[str, Decision]:
    baseline, seeds = found[design.baseline], design.seeds[:look]
    sign = 1 if metrics.of_primary(design.primary_metric).higher_is_better else -1
    differences = {
        variant: {seed: sign * (value - baseline[seed]) for seed, value in found[variant].items() if seed in baseline}
        for variant in before
    }
    return decide(differences, seeds, design.looks, design.smallest_difference_points)


def _refuse_other_looks(design: Design, folder: Path) -> None:
    try:
        before = Summary.model_validate_json((folder / "plan.json").read_bytes()).design
    except (OSError, ValueError):  # missing, or not a file of ours
        return
    if before.looks and before.looks != design.looks and before.changed == design.changed:
        was, now = (", ".join(map(str, each)) for each in (before.looks, design.looks))
        raise SpecError(
            f"`looks` must be those that were declared before the first run, at {was} seeds; got {now}: leave looks "
            "and MAX_SEEDS as they were, or ask anew under another name"
        )


def _warn_of_earlier_looks(folder: Path) -> None:
    others = [look for look in journal.read(folder) if not look.planned]
    if others:
        often = "once" if len(others) == 1 else f"{len(others)} times"
        tqdm.write(
            f"note: results were seen {often} outside the declared looks, which is not paid for: the error may be "
            "above 5%"
        )


def _say(number: int, look: int, design: Design, decisions: Mapping[str, Decision]) -> None:
    at = {name: f" (at {d.seeds} seeds)" for name, d in decisions.items() if d.seeds not in (0, look)}
    said = ", ".join(f"{name} {decision.outcome}{at.get(name, '')}" for name, decision in decisions.items())
    spent = spend(look / design.looks[-1])
    tqdm.write(f"look {number} of {len(design.looks)}, at {look} seeds, {spent:.1%} of error spent of 5%: {said}")
    still = [name for name, d in decisions.items() if d.outcome == "open"]
    if not still:
        tqdm.write("all is decided: no further seeds are run")
    elif look == design.looks[-1]:
        tqdm.write(f"{look} seeds were the most that are declared; not decided: {', '.join(still)}")
