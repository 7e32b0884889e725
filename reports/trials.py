"""How a tuning's trials are named and their scores written, in the unit of the metric that they were scored by."""

from collections.abc import Mapping

from harness.evidence import metrics
from harness.plans.tuning import Trial, Tuned
from harness.records.results import scale
from reports import frames


def variants(tuned: Tuned) -> list[str]:
    """Those that were tuned, in the order of the experiment."""
    return list(dict.fromkeys(trial.variant for trial in tuned.trials))


def metric(tuned: Tuned) -> str:
    """What trials were scored by, in words: "validation accuracy"."""
    return f"validation {metrics.of_primary(tuned.metric).words}"


def titled(tuned: Tuned, title: str, form: str = "{}") -> str:
    """A title with its unit behind it, if it has one: "validation accuracy %"."""
    sign = frames.unit(tuned.metric).sign
    return f"{title} {form.format(sign)}" if sign else title


def score(tuned: Tuned, trial: Trial) -> float:
    """What a trial counts, as it is shown: a fraction in percent."""
    return scale(tuned.metric) * tuned.worth(trial)


def shown(tuned: Tuned, trial: Trial | None) -> str | None:
    """74.20; None where it diverged."""
    if trial is None or trial.diverged:
        return None
    return frames.unit(tuned.metric).plain(score(tuned, trial))


def ranked(tuned: Tuned, scores: Mapping[str, float | None]) -> dict[str, str]:
    """Variant → "74.20 (2)", or "diverged" where there is no score, which ranks last; equal scores share a rank."""
    unit, sign = frames.unit(tuned.metric), tuned.sign
    ahead = {
        v: sum(other is not None and sign * other > sign * own for other in scores.values())
        for v, own in scores.items()
        if own is not None
    }
    return {v: "diverged" if own is None else f"{unit.plain(own)} ({1 + ahead[v]})" for v, own in scores.items()}
