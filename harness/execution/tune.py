"""Tune every variant with the same number of trials, each an ordinary run scored on held-out training images.

Points are stored in `runs/<experiment>/tuning.db`, trials are recorded as runs of `<experiment>_tuning`. A trial that
was interrupted is resumed like any other run, so no point is lost or drawn twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from tqdm import tqdm

from harness.evidence import metrics
from harness.execution.made import find_made
from harness.execution.studies import Point, Studies
from harness.plans.experiment import Design
from harness.plans.plan import Plan, with_values
from harness.plans.search import scored_by, trial_recipe, trials_of
from harness.plans.spec import RunSpec
from harness.plans.tuning import FIRST_TRIAL_SEED, Trial, Tuned, Tuning
from harness.records.record import Record
from harness.records.results import result
from harness.values import HarnessError, digest, flatten

if TYPE_CHECKING:
    from harness.execution.execute import Outcome

Make = Callable[[Plan], "Outcome"]
"""Makes the runs of a plan that are not made yet, as `make run` does."""
Points = Mapping[str, list[Point]]
"""Variant → the points of its trials."""


def tune(plan: Plan, root: Path, make: Make) -> tuple[Plan, "Outcome | None"]:
    """Make the missing trials, then put the best trial's values into each variant's recipe.

    Returns:
        The tuned plan and None; or, if a signal stopped the trials, the unchanged plan and the outcome.

    Raises:
        HarnessError: Optuna is not installed, its file cannot be read, a trial failed, or all trials of a variant
            diverged.
    """
    assert plan.tune is not None, "there must be something to tune"
    search = _Search(plan, plan.tune, root)
    folder = root / "runs" / plan.design.experiment
    folder.mkdir(parents=True, exist_ok=True)
    tried: set[str] = set()
    while True:
        with FileLock(folder / "tuning.lock"), Studies(folder / "tuning.db") as studies:
            points = _points(search, studies)
        missing = {spec.key for spec in search.specs(points) if search.ended(spec) is None}
        if not missing:
            return _tuned(search, points), None
        if missing & tried:
            raise HarnessError(
                f"{len(missing & tried)} trials of {plan.design.experiment} have no result: see above; the same "
                "command tries them again"
            )
        outcome = make(_as_plan(search, points))
        if outcome.signal is not None:
            return plan, outcome
        tried |= missing


@dataclass(frozen=True)
class _Search:
    """The tuning of a plan's variants, in one folder of runs."""

    plan: Plan
    tuning: Tuning
    root: Path

    @property
    def metric(self) -> str:
        """What trials are scored by, and their results compared by."""
        return self.plan.design.primary_metric

    @property
    def first(self) -> Mapping[str, RunSpec]:
        """Variant → one of its runs, for all declared variants."""
        return {spec.variant: spec for spec in (*self.plan.declared, *self.plan.runs)}

    def study(self, variant: str) -> str:
        """Name of a variant's Optuna study; it changes with the recipe, the images, the ranges and the metric."""
        asked = self.first[variant].model_copy(update={"seed": 0}).identity
        asked |= {"tuning": self.tuning.model_dump(mode="json", exclude={"trials"})}
        by = {} if self.metric == "test_accuracy" else {"metric": self.metric}
        return f"{variant}-{digest(asked | by)}"

    def spec(self, variant: str, point: Point) -> RunSpec:
        """The run of a trial. Trials with the same number have the same seed in all variants."""
        first = self.first[variant]
        return RunSpec(
            experiment=trials_of(first.experiment),
            variant=f"{variant}_t{point.number}",
            seed=FIRST_TRIAL_SEED + self.tuning.seed + point.number,
            recipe=trial_recipe(first.recipe, point.values, self.tuning.validation_fraction),
            images=first.images,
        )

    def specs(self, points: Points) -> list[RunSpec]:
        """The trials of the requested variants, ordered by number."""
        asked = [(point.number, variant, point) for variant in self.plan.recipes for point in points[variant]]
        return [self.spec(variant, point) for _, variant, point in sorted(asked, key=lambda each: each[0])]

    def ended(self, spec: RunSpec) -> tuple[str, float | None, float] | None:
        """The result of a trial: its run's key, its score (None if it diverged) and its training time in seconds.

        The score is the primary metric of the held-out images after the last epoch. Returns None if the trial has not
        ended.
        """
        assert spec.recipe.data.scored_on == "held_out", "a trial never sees a test image"
        made = find_made(self.root, spec)
        if made is None or made.problem:
            return None
        key = made.folder.name
        record = Record(key, key, tuple(made.events), made.folder / "artifacts" / "predictions.npz")
        score = result(record, scored_by(self.metric)) if record.finished else None
        return key, score, sum(epoch.train_seconds for epoch in record.epochs)

    def trials(self, variant: str, points: Points) -> list[Trial]:
        """The trials of a variant that have ended."""
        found = list[Trial]()
        for point in points[variant]:
            spec = self.spec(variant, point)
            if ended := self.ended(spec):
                key, score, seconds = ended
                found.append(
                    Trial(
                        variant=variant,
                        number=point.number,
                        values=dict(point.values),
                        key=key,
                        seed=spec.seed,
                        score=score,
                        train_seconds=seconds,
                    )
                )
        return found


def _points(search: _Search, studies: Studies) -> Points:
    """Report ended trials to Optuna, then draw new points for the requested variants; returns all variants' points."""
    sign = 1 if metrics.of_primary(search.metric).higher_is_better else -1
    points: dict[str, list[Point]] = {}
    for variant, first in search.first.items():
        name, asked = search.study(variant), variant in search.plan.recipes
        own = {field: value for field, value in flatten(first.recipe).items() if field in search.tuning.space}
        for point in studies.points(name, search.tuning, own, more=False):
            if ended := search.ended(search.spec(variant, point)):
                studies.tell(name, point, None if ended[1] is None else sign * ended[1])
        points[variant] = studies.points(name, search.tuning, own, more=asked)
    return points


def _as_plan(search: _Search, points: Points) -> Plan:
    """The trials as a separate plan."""
    design, specs = search.plan.design, tuple(search.specs(points))
    asked = f"Trials of the tuning of {design.experiment}, scored on held-out training images. {design.question}"
    return replace(
        search.plan,
        design=Design(
            experiment=trials_of(design.experiment),
            question=asked,
            factor=(*design.factor, *search.tuning.space),
            baseline=specs[0].variant,
            seeds=tuple(dict.fromkeys(spec.seed for spec in specs)),
            variants=tuple(spec.variant for spec in specs),
            primary_metric=scored_by(search.metric),
            smallest_difference_points=design.smallest_difference_points,
            changed=design.changed,
            trials_of=design.experiment,
        ),
        runs=specs,
        declared=(),
        tune=None,
    )


def _tuned(search: _Search, points: Points) -> Plan:
    """The plan with the best trials' values, including variants that were tuned before but are not requested now."""
    trials = {variant: search.trials(variant, points) for variant in search.first}
    whole = {variant: each for variant, each in trials.items() if len(each) == search.tuning.trials}
    base = flatten(next(iter(search.first.values())).recipe)
    tuned = Tuned(
        asked=search.tuning,
        base={field: base.get(field) for field in search.tuning.space},
        trials=tuple(trial for each in whole.values() for trial in each),
        metric=search.metric,
    )
    best = {variant: tuned.best(variant) for variant in whole}
    lost = [variant for variant in search.plan.recipes if best[variant] is None]
    if lost:
        raise HarnessError(
            f"`tune.space` must have values with which a run does not diverge; all {search.tuning.trials} trials of "
            f"{', '.join(lost)} did: choose smaller ones"
        )
    for variant in search.plan.recipes:
        tqdm.write(_line(variant, tuned))
    plan = with_values(search.plan, {variant: trial.values for variant, trial in best.items() if trial})
    return replace(plan, tuned=tuned)


def _line(variant: str, tuned: Tuned) -> str:
    """A line such as "tuned batch: optimizer.lr 0.03162, 74.20% of held-out images right, the best of 8 trials"."""
    best, trials = tuned.best(variant), tuned.of(variant)
    assert best is not None
    assert best.score is not None
    values = ", ".join(f"{field} {value}" for field, value in best.values.items())
    diverged = sum(trial.diverged for trial in trials)
    edges = "".join(
        f"; {field} lies at the {end} end of its range: widen it" for field, end in tuned.at_edge(variant).items()
    )
    lost = f", {diverged} of which diverged" if diverged else ""
    metric = metrics.of_primary(tuned.metric)
    shown = f"{best.score:.2%}" if metric.fraction else f"{best.score:.4g}"
    right, other = f"{shown} of held-out images right", f"{metric.words} {shown} on held-out images"
    said = right if metric.name == "accuracy" else other
    return f"tuned {variant}: {values}; {said}, the best of {len(trials)} trials{lost}{edges}"
