"""Points to try in a tuning, drawn by Optuna and stored in a SQLite file. Only this module imports Optuna.

The first points are quasi-random (scrambled Sobol, Owen 1998) and the same for every variant; later ones are Bayesian
(TPE, Bergstra et al. 2011, NeurIPS 24). Each of these is drawn with its own seed, because a resumed sampler restarts
its random numbers (optuna #3255). Trials are never pruned, so all variants get the same budget.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.plans.tuning import Choice, LogUniform, Range, Tuning
from harness.values import HarnessError, Scalar, first_line

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

QUASI_RANDOM = 32
"""Number of quasi-random trials per variant, a power of two, at which a Sobol sequence is balanced."""
_OWN = "own"
"""Attribute that marks the trial with the recipe's own values."""


@dataclass(frozen=True)
class Point:
    """The hyperparameter values of one trial of a variant."""

    number: int
    """Number of the trial, from 0, not counting incomplete ones."""
    values: Mapping[str, Scalar]
    """Dotted field → value. Drawn numbers are rounded to four significant digits; the recipe's own are not."""
    optuna: int
    """Optuna's number of the trial, which also counts trials of a process that was killed while drawing them."""
    told: bool
    """True if Optuna has the trial's result."""


class Studies:
    """The Optuna studies in one file, one per variant. Callers must hold a lock: two processes must not draw at once.

    Raises:
        HarnessError: Optuna is not installed, or the file cannot be read.
    """

    def __init__(self, path: Path):
        try:
            import optuna
        except ImportError as error:
            raise HarnessError(
                "`tune` needs the package optuna, which is missing; install it, then run again"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self._path = optuna, path
        self._open: dict[str, Study] = {}
        try:
            self._storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        except Exception as error:  # SQLAlchemy and SQLite raise many types of errors
            raise HarnessError(
                f"{path} cannot be read ({first_line(error)}); remove it, and the same points are drawn "
                "again: the runs of trials stay made"
            ) from error

    def __enter__(self) -> "Studies":
        return self

    def __exit__(self, *_: object) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()

    def points(self, name: str, tuning: Tuning, own: Mapping[str, Any], more: bool) -> list[Point]:
        """A variant's points, at most `tuning.trials`.

        Quasi-random points are all drawn at once; a later point is drawn once all earlier ones have results.

        Args:
            name: the study.
            own: dotted field → value in the variant's recipe; used by the first trial if it lies in the ranges.
            more: draw new points if possible.
        """
        study, space = self._study(name), tuning.space
        found = self._counted(study, tuning)
        if more and not found and all(field in own and _within(own[field], span) for field, span in space.items()):
            study.enqueue_trial(dict(own), user_attrs={_OWN: True}, skip_if_exists=True)
        while more and len(found) < tuning.trials:
            if len(found) >= QUASI_RANDOM and not all(point.told for point in found):
                break
            study.sampler = self._sampler(tuning, len(found))
            study.ask(_distributions(space))
            found = self._counted(study, tuning)
        return found

    def tell(self, name: str, point: Point, score: float | None) -> None:
        """Report a trial's score to Optuna: higher is better; None, for a trial that diverged, is below all others."""
        if not point.told:
            self._study(name).tell(point.optuna, -math.inf if score is None else score, skip_if_finished=True)

    def _study(self, name: str) -> "Study":
        if name not in self._open:
            self._open[name] = self._optuna.create_study(
                storage=self._storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                pruner=self._optuna.pruners.NopPruner(),
            )
        return self._open[name]

    def _counted(self, study: "Study", tuning: Tuning) -> list[Point]:
        states = self._optuna.trial.TrialState
        drawn = [t for t in study.get_trials(deepcopy=False) if t.state in (states.RUNNING, states.COMPLETE)]
        whole = [t for t in drawn if t.params.keys() == tuning.space.keys()]  # else it was cut off while drawn
        return [
            Point(number, _values(trial, tuning.space), trial.number, trial.state == states.COMPLETE)
            for number, trial in enumerate(whole[: tuning.trials])
        ]

    def _sampler(self, tuning: Tuning, number: int) -> Any:
        samplers = self._optuna.samplers
        if number >= QUASI_RANDOM:
            return samplers.TPESampler(seed=tuning.seed + number)
        distributions = _distributions(tuning.space)

        class QuasiRandom(samplers.QMCSampler):
            """Optuna's sampler, with the search space known before the first trial has ended."""

            def infer_relative_search_space(
                self, study: "Study", trial: "FrozenTrial"
            ) -> dict[str, "BaseDistribution"]:
                return distributions

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            return QuasiRandom(scramble=True, seed=tuning.seed)


def _distributions(space: Mapping[str, Range]) -> "dict[str, BaseDistribution]":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        field: CategoricalDistribution(span.values)
        if isinstance(span, Choice)
        else FloatDistribution(span.low, span.high, log=isinstance(span, LogUniform))
        for field, span in space.items()
    }


def _values(trial: "FrozenTrial", space: Mapping[str, Range]) -> dict[str, Scalar]:
    own = _OWN in trial.user_attrs
    return {f: trial.params[f] if own else _rounded(trial.params[f], span) for f, span in space.items()}


def _rounded(value: Scalar, span: Range) -> Scalar:
    return value if isinstance(span, Choice) else min(max(float(f"{value:.4g}"), span.low), span.high)


def _within(value: Any, span: Range) -> bool:
    if isinstance(span, Choice):
        return repr(value) in map(repr, span.values)
    return isinstance(value, int | float) and not isinstance(value, bool) and span.low <= value <= span.high
