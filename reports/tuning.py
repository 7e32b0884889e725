"""The section on tuning: each variant's trials, the position of its best trial in the range, and other budgets.

Trials are scored on held-out training images and never compared with results; they are read from the summary run.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.artifacts.figures import new, plain
from harness.evidence import metrics
from harness.plans.tuning import Choice, LogUniform, Range, Trial, Tuned, best_of
from reports import frames
from reports.document import Table, Text
from reports.figures import PANEL, colours
from reports.prose import count, listed
from reports.sections import Report
from reports.select import Selection
from reports.trials import metric, ranked, score, shown, titled, variants


def section(report: Report) -> None:
    """Add the section on tuning; nothing if nothing was tuned."""
    selection = report.selection
    tuned = selection.summary.tuned
    if tuned is None or not tuned.trials:
        return
    report.heading("Tuning")
    report.add(Text(how(tuned)), best_table(tuned), *([ranks_table(selection, tuned)] if _from_base(tuned) else []))
    first, *more = trial_panels(tuned)
    marks = "a ring marks a variant's best, × one that diverged"
    report.draw("tuning", first, f"V{metric(tuned)[1:]} of every trial; {marks}", *more)
    report.add(Text(budget_in_words(tuned)))
    caption = f"Expected best {metric(tuned)} by the number of trials: the mean over all subsets of the trials made"
    report.draw("tuning_budget", budget_figure(tuned), caption + _lost_in_words(tuned))
    report.add(trials_table(tuned))


def how(tuned: Tuned) -> str:
    """Sentences on what was tuned, with which budget, and on which images."""
    asked = tuned.asked
    ranges = listed([f"{field} {_range(asked.space[field])}" for field in asked.space])
    points = "The variants tried the same points" if _same_points(tuned) else "The variants tried points of their own"
    own = "; the first has the values of the experiment's file" if _from_base(tuned) else ""
    by = "" if tuned.metric == "test_accuracy" else f" by {metrics.of_primary(tuned.metric).words}"
    return (
        f"Tuned for each variant alike, with {count(asked.trials, 'trial')}: {ranges}. A trial is one run with a seed "
        f"of its own, trained on {1 - asked.validation_fraction:.0%} of the training images and scored on the other "
        f"{asked.validation_fraction:.0%}{by} after its last epoch; no trial saw a test image, and no result has a "
        f"trial's seed. {points}{own}. The values of each variant's best trial were then run with the seeds that are "
        "compared, on all training images."
    )


def cost(selection: Selection) -> list[Text]:
    """A sentence on the training time of tuning and of the compared runs."""
    tuned = selection.summary.tuned
    if tuned is None or not tuned.trials:
        return []
    spent, results = (
        sum(trial.train_seconds for trial in tuned.trials),
        frames.runs_frame(selection)["train_seconds"].sum(),
    )
    trained = f"{spent:,.0f} s of training, beside {results:,.0f} s for the runs that are compared"
    return [Text(f"Tuning took {count(len(tuned.trials), 'trial')} and {trained}.", selection.numbers())]


def best_table(tuned: Tuned) -> Table:
    """A table with a row per variant: the values of its best trial, and their positions in the ranges."""
    rows = []
    for variant in variants(tuned):
        best, edges = tuned.best(variant), tuned.at_edge(variant)
        values = [None if best is None else _value(best.values[field]) for field in tuned.asked.space]
        where = listed([f"{field}: {end} end" for field, end in edges.items()]) if edges else "inside"
        diverged = sum(trial.diverged for trial in tuned.of(variant))
        number = best.number + 1 if best else None
        rows.append((variant, *values, shown(tuned, best), number, diverged, where if best else None))
    columns = ("variant", *tuned.asked.space, titled(tuned, metric(tuned)), "best trial", "diverged", "in its range")
    way, words = ("high" if tuned.sign > 0 else "low"), metrics.of_primary(tuned.metric).words
    return Table(
        columns,
        rows,
        f"The best trial of each variant by held-out images: one run, the {way}est of several, so its {words} is too "
        f"{way} to be a result. In its range: at an end if in the outer tenth.",
    )


def ranks_table(selection: Selection, tuned: Tuned) -> Table:
    """A table with the ranks of untuned and tuned variants; "untuned" is the first trial, with the file's values."""
    names = [variant for variant in variants(tuned) if variant in selection.variants]
    untuned = {variant: tuned.of(variant)[0] for variant in names}
    best = {variant: tuned.best(variant) for variant in names}
    results = {variant: float(np.mean(list(found.values()))) for variant, found in frames.results(selection).items()}
    made = [
        {v: None if trial is None or trial.diverged else score(tuned, trial) for v, trial in found.items()}
        for found in (untuned, best)
    ]
    scored = [ranked(tuned, found) for found in (*made, {v: results[v] for v in names})]
    rows = [(variant, *(column[variant] for column in scored)) for variant in names]
    held_out = (titled(tuned, title) for title in ("untuned, validation", "tuned, validation"))
    columns = ("variant", *held_out, f"{titled(tuned, 'tuned, test')} over seeds")
    return Table(
        columns,
        rows,
        "Ranks in brackets. Untuned: the first trial, which has the values of the experiment's file. The first two "
        "columns are of one run each, so their order alone shows nothing.",
    )


def trials_table(tuned: Tuned) -> Table:
    """A table of all trials with the keys of their runs."""
    rows = [
        (t.variant, t.number + 1, *map(_value, t.values.values()), shown(tuned, t), t.seed, t.key)
        for variant in variants(tuned)
        for t in tuned.of(variant)
    ]
    columns = (
        "variant",
        "trial",
        *tuned.asked.space,
        titled(tuned, metric(tuned)),
        "seed",
        "run key (tag run_key in MLflow)",
    )
    words = metrics.of_primary(tuned.metric).words
    return Table(columns, rows, f"A dash for the {words}: the trial diverged.", folded=f"All {len(rows)} trials")


def budget_in_words(tuned: Tuned) -> str:
    """A sentence on whether the variant with the best expected score depends on the tuning budget."""
    curves, budgets = _curves(tuned), range(1, tuned.asked.trials + 1)
    first_of, end = (max, "highest") if tuned.sign > 0 else (min, "lowest")
    best = [first_of(curve[n - 1] for curve in curves.values()) for n in budgets]
    leaders = [[v for v in curves if np.isclose(curves[v][n - 1], best[n - 1])] for n in budgets]
    spans: list[tuple[list[str], int, int]] = []
    for n, leading in zip(budgets, leaders, strict=True):
        if spans and spans[-1][0] == leading:
            spans[-1] = (leading, spans[-1][1], n)
        else:
            spans.append((leading, n, n))
    if len(curves) == 1:
        return "One variant was tuned, so no budget is compared."
    if len(spans) == 1:
        first = listed(spans[0][0])
        return (
            f"On held-out images {first} would be expected {end} with any budget from 1 to {tuned.asked.trials} "
            "trials: as far as these trials tell, who comes first does not depend on the budget."
        )
    parts = [f"{listed(leading)} with {_span(first, last)}" for leading, first, last in spans]
    return f"On held-out images the variant expected {end} depends on the budget: {listed(parts)}."


def budget_figure(tuned: Tuned) -> Figure:
    """The expected best score over the number of trials, a line per variant."""
    figure = new(6, 3.8)
    axes, colour = figure.subplots(), colours(variants(tuned))
    for variant, curve in _curves(tuned).items():
        axes.plot(
            range(1, len(curve) + 1), curve, marker="o", markersize=4, color=colour[variant], label=plain(variant)
        )
    axes.set(xlabel="trials", ylabel=titled(tuned, f"expected best {metric(tuned)}", "({})"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def trial_panels(tuned: Tuned) -> list[Figure]:
    """Every trial's score against its value, a panel per tuned field."""
    made = []
    for field in tuned.asked.space:
        made.append(new(*PANEL))
        _panel(made[-1].subplots(), tuned, field)
    return made


def _panel(axes: Axes, tuned: Tuned, field: str) -> None:
    span, colour = tuned.asked.space[field], colours(variants(tuned))
    places = {repr(value): n for n, value in enumerate(span.values)} if isinstance(span, Choice) else {}

    def at(trial: Trial) -> float:
        value = trial.values[field]
        return places[repr(value)] if places else float(value)

    scored = [score(tuned, trial) for trial in tuned.trials if not trial.diverged]
    worst = tuned.sign * min((tuned.sign * each for each in scored), default=0.0)
    for variant in variants(tuned):
        trials, best = tuned.of(variant), tuned.best(variant)
        points = [(at(trial), score(tuned, trial)) for trial in trials if not trial.diverged]
        axes.scatter(*zip(*points, strict=True), s=22, color=colour[variant], label=plain(variant)) if points else None
        lost = [at(trial) for trial in trials if trial.diverged]
        axes.scatter(lost, [worst] * len(lost), marker="x", color=colour[variant])
        if best is not None:
            axes.scatter([at(best)], [score(tuned, best)], s=110, facecolors="none", edgecolors=[colour[variant]])
    if isinstance(span, LogUniform):
        axes.set_xscale("log")
    if not isinstance(span, Choice):
        axes.set_xlim(span.low, span.high)
    if places:
        axes.set_xticks(range(len(places)), [plain(_value(value)) for value in getattr(span, "values", ())])
    axes.set(xlabel=field, ylabel=titled(tuned, metric(tuned), "({})"))
    axes.legend()


def _curves(tuned: Tuned) -> dict[str, list[float]]:
    """Variant → expected best score as it is shown, of 1, 2, … trials."""
    sign = tuned.sign
    scores = {v: tuple(sign * score(tuned, trial) for trial in tuned.of(v)) for v in variants(tuned)}
    return {v: [sign * best_of(each, n) for n in range(1, len(each) + 1)] for v, each in scores.items()}


def _lost_in_words(tuned: Tuned) -> str:
    """What a diverged trial counts as in an expectation; "" where none did."""
    lost = [trial for trial in tuned.trials if trial.diverged]
    if not lost:
        return ""
    unit, worth = frames.unit(tuned.metric), score(tuned, lost[0])
    return f"; one that diverged counts as {f'{worth:.0f}%' if unit.sign else f'the worst other, {unit.plain(worth)}'}"


def _same_points(tuned: Tuned) -> bool:
    points = [[trial.values for trial in tuned.of(variant)] for variant in variants(tuned)]
    return all(each == points[0] for each in points)


def _from_base(tuned: Tuned) -> bool:
    """True if the first trial of every variant has the values of the experiment's file."""
    return all(tuned.of(variant)[0].values == tuned.base for variant in variants(tuned))


def _range(span: Range) -> str:
    if isinstance(span, Choice):
        return f"of {', '.join(map(_value, span.values))}"
    scale = " by its logarithm" if isinstance(span, LogUniform) else ""
    return f"from {span.low:g} to {span.high:g}{scale}"


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _span(first: int, last: int) -> str:
    if first == last:
        return count(first, "trial")
    return f"{first} to {last} trials"
