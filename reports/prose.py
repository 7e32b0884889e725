"""The sentences of a report. Each claims only what the runs show, and carries their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.plans.plan import within
from reports import frames, guard
from reports.checkpoints import Flips
from reports.document import Text
from reports.select import Selection
from reports.statistics import Comparison
from reports.tables import spread
from reports.verdicts import explain, measured


def metric_name(selection: Selection) -> str:
    """The primary metric in words: "test accuracy"."""
    return selection.design.primary_metric.replace("_", " ")


def answer(selection: Selection, comparisons: Sequence[Comparison]) -> list[Text]:
    """The headline, and a sentence for each comparison."""
    verdicts = [Text(explain(c), selection.numbers(c.variant, c.baseline)) for c in comparisons]
    return [headline(selection, comparisons), *verdicts]


def headline(selection: Selection, comparisons: Sequence[Comparison]) -> Text:
    """Which variant came out highest, and whether these runs show that it is the best."""
    frame = frames.summary_frame(selection)
    tied = frame[np.isclose(frame["mean"], frame["mean"].max(), rtol=1e-12, atol=0)]
    tied = tied.sort_values("variant", key=lambda names: names != selection.baseline, kind="stable")
    best, level = tied.iloc[0], list(tied["variant"][1:])
    result = f"{spread(best['mean'], best['std'], 2)}% {metric_name(selection)} over {count(best['n'], 'seed')}"
    if len(frame) == 1:
        return Text(f"{best['variant']}: {result}.", selection.numbers())
    known = f"{best['variant']} came out highest{f', level with {_listed(level)}' if level else ''}: {result}"
    return Text(f"{known}. {_is_it_real(best['variant'], selection, comparisons)}", selection.numbers())


def _is_it_real(best: str, selection: Selection, comparisons: Sequence[Comparison]) -> str:
    baseline = selection.baseline
    if best == baseline:
        worse = [c.variant for c in comparisons if c.verdict == "worse"]
        open_ = [v.name for v in selection.design.variants if v.name not in (best, *worse)]
        if not open_:
            return "Every other variant is shown to be worse, so this is hardly chance."
        return f"These runs do not show that it is better than {_listed(open_, 'or')}."
    shown = any(c.variant == best and c.verdict == "better" for c in comparisons)
    said = f"It is shown to be better than {baseline}" if shown else f"It is not shown to be better than {baseline}"
    return f"{said}, the baseline, with which alone variants are compared."


def setting(selection: Selection) -> Text:
    """What was trained and on what, and how results are compared."""
    data = selection.records[0].started.data
    held = f", {data.validation_images:,} for validation" if data.validation_images else ""
    epochs = sorted({len(record.epochs) for record in selection.records})
    length = count(epochs[0], "epoch") if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]} epochs"
    text = f"Images: {data.label}, {data.train_images:,} for training{held} and {data.test_images:,} for testing; "
    text += f"{length} a run. "
    if len(selection.variants) > 1:
        text += f"Every variant is compared with {selection.baseline}, run by run of the same seed. "
        text += f"Differences below {measured(selection.design.smallest_difference_points)} are taken not to matter."
    return Text(text.strip(), selection.numbers())


def changed(selection: Selection) -> Text | None:
    """What the command line changed in the experiment as its file has it; None: nothing."""
    fields = selection.design.changed
    if not fields:
        return None
    recipe = selection.records[0].started.spec.recipe
    parts: dict[str, str] = {}
    for field, (declared, used) in fields.items():
        whole = field.split(".")[0]
        if getattr(recipe, whole) is None:
            parts[whole] = f"{whole} none"
        else:
            parts[field] = f"{field} {_value(used)} instead of {_value(declared)}"
    text = f"Not as in the experiment's file, but changed for these runs: {_listed(list(parts.values()))}."
    return Text(text, selection.numbers())


def _value(value: Any) -> str:
    return "none" if value is None else str(value)


def what_differs(selection: Selection, found: Sequence[guard.Difference]) -> Text:
    """Whether anything but the factor could explain the results."""
    others = "the images, the training code, the versions of packages, the machine, the number of threads and all "
    others += "other settings"
    many, differing = len(selection.variants) > 1, guard.factor_values(selection.records)
    factor = [field for field in selection.design.factor if any(within(name, [field]) for name in differing)]
    factor = factor or ["name alone"]
    runs = f"The variants differ in {_listed(factor)}" if many else f"All runs are of {selection.baseline}"
    mattering = [difference.field for difference in found if not difference.harmless]
    if not found:
        text = f"{runs}. Nothing {'else ' * many}differs between these runs: {others} are the same."
    elif not mattering:
        text = f"{runs}. What {'else ' * many}differs, listed below, cannot change a result."
    else:
        text = f"{runs}, but {'also' if many else 'differ'} in {_listed(mattering)}, which could explain a difference."
    return Text(text, selection.numbers())


def changed_hands(selection: Selection, found: Mapping[str, Flips], never_right: int) -> list[Text]:
    """How many images every run gets wrong, and for each variant how many change hands, beside chance."""
    base, images = selection.baseline, count(len(selection.records[0].labels), "test image")
    wrong = f"{never_right:,} of {images} {'is' if never_right == 1 else 'are'} wrong in every run."
    texts = [Text(wrong, selection.numbers())]
    for variant, flips in found.items():
        fixed = count(round(flips.fixed_per_pair), "image")
        text = (
            f"Take a run of {variant} and a run of {base}: {variant} is right on {fixed} that {base} gets wrong, and "
            f"wrong on {flips.broken_per_pair:,.0f} that {base} gets right."
        )
        if frames.same_weights(selection, variant):
            text += " With the same seed both are one network, weight for weight: only the evaluation differs."
        if flips.by_chance_per_pair is None:
            text += " How many that would be by chance, one seed cannot tell."
        else:
            text += f" Two runs that differ in their seed alone exchange {flips.by_chance_per_pair:,.0f} each way."
        texts.append(Text(text, selection.numbers(variant, base)))
    return texts


def count(number: int, what: str) -> str:
    """1 image; 2,135 images."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str], word: str = "and") -> str:
    """a; a and b; a, b and c."""
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
