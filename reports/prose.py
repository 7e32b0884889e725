"""The sentences of a report. Each claims only what the runs show, and refers to these runs by number."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.evidence.signs import fewest_pairs
from harness.plans.differences import within
from reports import classes, frames, guard, recipe
from reports.checkpoints import Flips
from reports.document import Text
from reports.measured import Measured
from reports.select import Selection
from reports.statistics import Comparison, summarize
from reports.tables import rounded, spread
from reports.verdicts import explain, measured


def metric_name(selection: Selection) -> str:
    """The primary metric in words: "test accuracy"."""
    return selection.design.primary_metric.replace("_", " ")


def asked_of(selection: Selection) -> Text | None:
    """A sentence if the question names another data set than the runs were trained on; otherwise None."""
    if "data.name" not in selection.design.changed:
        return None
    declared, used = (str(value) for value in selection.design.changed["data.name"])
    label = selection.records[0].started.data.label if selection.records else used
    answered = used if label == declared else label
    return Text(f"The question was asked of {declared}; it is answered on {answered}.", selection.numbers())


def answer(selection: Selection, comparisons: Sequence[Comparison]) -> list[Text]:
    """The headline and the sentences on each comparison."""
    unit = frames.unit(selection.design.primary_metric)
    verdicts = [Text(explain(c, unit), selection.numbers(c.variant, c.baseline)) for c in comparisons]
    return [headline(selection, comparisons), *verdicts, *recipe.too_narrow(selection)]


def headline(selection: Selection, comparisons: Sequence[Comparison]) -> Text:
    """The variant with the best mean, and whether the runs show that it is the best; no ranking with one seed."""
    said = ranking(frames.measured(selection), comparisons)
    return Text(" ".join([said, *_alone(selection), *_survivors(selection)]), selection.numbers())


def ranking(measured: Measured, comparisons: Sequence[Comparison]) -> str:
    """Like `headline`, for any results."""
    if len(measured.results) == 1:
        (only,) = measured.results
        return f"{only}: {_result(only, measured)}."
    if any(len(runs) == 1 for runs in measured.results.values()):
        return _unranked(measured)
    best, *level = measured.best
    end = "lowest, which is best" if measured.lower_is_better else "highest"
    known = f"{best} came out {end}{f', level with {listed(level)}' if level else ''}"
    return f"{known}: {_result(best, measured)}. {_is_it_real(best, measured, comparisons)}"


def _result(variant: str, measured: Measured) -> str:
    made, unit = summarize(list(measured.results[variant].values())), measured.unit
    number = spread(made.mean, made.std, 2) if unit.sign else rounded(made.mean, made.std)
    return f"{number}{unit.sign} {measured.metric} over {count(made.n, 'seed')}"


def _unranked(measured: Measured) -> str:
    """The sentences if a variant has only one run: the range of results, and the number of seeds needed."""
    single = [variant for variant, runs in measured.results.items() if len(runs) == 1]
    who = "every variant" if len(single) == len(measured.results) else listed(single)
    means = [summarize(list(runs.values())).mean for runs in measured.results.values()]
    least, most = (f"{measured.unit.plain(end)}{measured.unit.sign}" for end in (min(means), max(means)))
    return (
        f"One seed ranks nothing, and {who} has run with one: {measured.metric} is "
        f"{least if least == most else f'{least} to {most}'}. It takes at least "
        f"{fewest_pairs()} seeds to show a difference."
    )


def _alone(selection: Selection) -> list[str]:
    """A sentence if only one of the design's variants has results."""
    others = [name for name in selection.design.variants if name not in selection.variants]
    if len(selection.variants) > 1 or not others:
        return []
    return [f"{listed(others)} {'have' if len(others) > 1 else 'has'} no result, so nothing is compared."]


def _survivors(selection: Selection) -> list[str]:
    """A sentence on runs that diverged or failed: without them a variant's results may look better than they are."""
    lost: dict[tuple[str, str], int] = {}
    for absent in selection.absent:
        how = next((how for how in ("diverged", "failed") if absent.why.startswith(how)), None)
        if how:
            lost[absent.variant, how] = lost.get((absent.variant, how), 0) + 1
    asked = Counter(run.variant for run in selection.summary.runs)
    parts = [f"{number} of {count(asked[name], 'run')} of {name} {how}" for (name, how), number in lost.items()]
    return [f"But {listed(parts)}: the results are of the runs that are left, which may flatter them."] if parts else []


def _is_it_real(best: str, measured: Measured, comparisons: Sequence[Comparison]) -> str:
    baseline = measured.baseline
    if best == baseline:
        worse = [c.variant for c in comparisons if c.verdict == "worse"]
        open_ = [name for name in measured.variants if name not in (best, *worse)]
        if not open_:
            return "Every other variant is shown to be worse."
        return f"These runs do not show that it is better than {listed(open_, 'or')}."
    shown = any(c.variant == best and c.verdict == "better" for c in comparisons)
    said = f"It is shown to be better than {baseline}" if shown else f"It is not shown to be better than {baseline}"
    return f"{said}, the baseline{', with which alone variants are compared' * (not measured.every_pair)}."


def setting(selection: Selection) -> Text:
    """Sentences on the data, the length of training, and how results are compared."""
    data = selection.records[0].started.data
    held = f", {data.validation_images:,} for validation" if data.validation_images else ""
    epochs = sorted({len(record.epochs) for record in selection.records})
    length = count(epochs[0], "epoch") if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]} epochs"
    said = [f"Images: {data.label}, {data.train_images:,} for training{held} and {data.test_images:,} for testing;"]
    said += [f"{length} a run."]
    if uneven := classes.majority(selection):
        said.append(uneven)
    if len(selection.variants) > 1:
        said.append(f"Every variant is compared with {selection.baseline}, run by run of the same seed.")
        unit = frames.unit(selection.design.primary_metric)
        matters = measured(selection.design.smallest_difference_points, unit)
        said.append(f"Differences below {matters} are taken not to matter.")
    return Text(" ".join(said), selection.numbers())


def changed(selection: Selection) -> Text | None:
    """A sentence on values of the experiment's file that the command line changed; None if there are none."""
    fields = selection.design.changed
    if not fields:
        return None
    recipe = selection.records[0].started.spec.recipe
    parts: dict[str, str] = {}
    for field, (declared, used) in fields.items():
        whole = field.split(".")[0]
        if getattr(recipe, whole, field) is None:
            parts[whole] = f"{whole} none"
        else:
            parts[field] = f"{field} {_value(used)} instead of {_value(declared)}"
    text = f"Not as in the experiment's file, but changed for these runs: {listed(list(parts.values()))}."
    return Text(text, selection.numbers())


def _value(value: Any) -> str:
    return "none" if value is None else str(value)


def what_differs(selection: Selection, found: Sequence[guard.Difference]) -> Text:
    """A sentence on whether anything other than the factor could explain the results."""
    others = "the images, the training code, the versions of packages, the machine, the number of threads and all "
    others += "other settings"
    many, differing = len(selection.variants) > 1, guard.factor_values(selection.records)
    factor = [name for name in differing if within(name, selection.design.may_differ)] or ["name alone"]
    runs = f"The variants differ in {listed(factor)}" if many else f"All runs are of {selection.baseline}"
    mattering = [difference.field for difference in found if difference.matters]
    blocks = [difference.field for difference in found if difference.block and not difference.harmless]
    if not found:
        text = f"{runs}. Nothing {'else ' * many}differs between these runs: {others} are the same."
    elif blocks and not mattering:
        same = "the same for all variants of each, so pairs remain comparable (blocks)"
        text = f"{runs}. Seeds differ in {listed(blocks)}, {same}."
    elif not mattering:
        text = f"{runs}. What {'else ' * many}differs, listed below, cannot change a result."
    else:
        text = f"{runs}, but {'also' if many else 'differ'} in {listed(mattering)}, which could explain a difference."
    return Text(text, selection.numbers())


def changed_hands(selection: Selection, found: Mapping[str, Flips], never_right: int) -> list[Text]:
    """Sentences on images that every run gets wrong, and on each variant's prediction flips compared with chance."""
    base, images = selection.baseline, count(len(selection.records[0].labels), "test image")
    wrong = f"{never_right:,} of {images} {'is' if never_right == 1 else 'are'} wrong in every run."
    texts = [Text(wrong, selection.numbers())]
    for variant, flips in found.items():
        net = round(flips.fixed_per_pair - flips.broken_per_pair)
        does = f"{'gains' if net > 0 else 'loses'} {count(abs(net), 'image')}" if net else "gains and loses no image"
        text = f"Compared with a run of {base}, a run of {variant} {does} net."
        if frames.same_weights(selection, variant):
            text += " With the same seed both networks have the same weights: only the evaluation differs."
        if flips.by_chance_per_pair is None:
            text += " One seed cannot tell how many images another seed alone would flip."
        else:
            text += f" Another seed alone flips {count(round(flips.by_chance_per_pair), 'image')} each way."
        texts.append(Text(text, selection.numbers(variant, base)))
    return texts


def count(number: int, what: str) -> str:
    """A number with its noun: "1 image", "2,135 images"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], word: str = "and") -> str:
    """Join names: "a", "a and b", "a, b and c"."""
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
