"""Sentences about the verdicts: assumption of the test, correction for multiple comparisons, looks, predictions."""

from collections import Counter
from collections.abc import Sequence

from harness.evidence.signs import fewest_pairs
from reports.document import Text
from reports.prose import count, listed
from reports.select import Selection
from reports.statistics import Comparison, best_group


def correction(selection: Selection, comparisons: Sequence[Comparison], joined: bool) -> Text | None:
    """The assumption of the test and the number of comparisons it is corrected for; None if nothing is compared.

    Args:
        joined: True if the report contains other experiments too.
    """
    if not comparisons:
        return None
    many = comparisons[0].comparisons
    vector = "difference" if many == 1 else "vector of differences"
    said = [f"Verdicts assume that each seed's {vector} is as likely as its negative."]
    if many > 1:
        pairs = ", of all pairs of variants," if selection.design.compare == "all" else ""
        said.append(f"They are corrected for all {many} comparisons{pairs} by flipping the signs of whole seeds.")
    compared = {selection.baseline, *(c.variant for c in comparisons)}
    if missing := [name for name in selection.design.variants if name not in compared]:
        said.append(f"Declared and not compared yet: {listed(missing)}; once compared, every p can grow.")
    if joined:
        family = count(many, "comparison")
        said.append(f"The family is the {family} of {selection.design.experiment}; other experiments do not count.")
    return Text(" ".join(said), selection.numbers())


def best(selection: Selection, every: Sequence[Comparison]) -> Text:
    """The variants that may be the best, if all were compared with each other (multiple comparisons with the best, Hsu
    1984, by the joint sign flips of all pairs)."""
    group = best_group(every, list(selection.variants))
    if len(group) == len(selection.variants):
        said = "no variant is shown to be worse than another, so any may be the best."
    elif len(group) == 1:
        said = f"each but {group[0]} is shown to be worse than another, so {group[0]} is the best."
    else:
        said = f"each but {listed(group)} is shown to be worse than another, so the best is among these."
    return Text(f"Of all pairs of variants: {said}", selection.numbers())


def looks(selection: Selection, comparisons: Sequence[Comparison]) -> Text | None:
    """How often the results were looked at, and what p-values refer to; None if there was one look, as planned."""
    if not comparisons:
        return None
    declared, most = selection.design.looks, max(len(runs) for runs in selection.variants.values())
    counts = {len(look.seeds) for look in selection.summary.looks} | {most}
    taken = sorted(number for number in counts if number >= fewest_pairs())  # fewer seeds could not decide anything
    if declared:
        said = "Verdicts are those of the declared looks, which share the 5% of error; p and intervals are of one look."
    elif len(taken) > 1:
        said = f"Results were looked at after {_numbers(taken)} seeds, and every p is of one look: stopping at the "
        said += "first that shows a difference errs in more than 5% of cases."
    else:
        return None
    return Text(said, selection.numbers())


def _numbers(values: Sequence[int]) -> str:
    return listed([str(value) for value in values])


def predictions(selection: Selection, comparisons: Sequence[Comparison]) -> list[Text]:
    """The prediction and the outcome for each variant, and whether the prediction was recorded with every run."""
    came_out = {c.variant: c.verdict for c in comparisons}
    recorded = [record.started.design.expected for record in selection.records]
    named = dict.fromkeys([*selection.design.expected, *(name for expected in recorded for name in expected)])
    texts = []
    for variant in (name for name in named if name != selection.baseline):
        predicted = selection.design.expected.get(variant)
        was = Counter(expected.get(variant) for expected in recorded)
        found = came_out.get(variant, "not compared yet")
        said = [f"Predicted of {variant}: {predicted or 'nothing now'}. It came out {found}{_hit(predicted, found)}."]
        if others := {old: runs for old, runs in was.items() if old != predicted}:
            how = [f"{old or 'nothing'} with {count(runs, 'run')}" for old, runs in others.items()]
            said.append(f"The prediction was changed after runs existed: recorded was {listed(how)}.")
        elif predicted:
            said.append("The prediction is recorded with every run.")
        texts.append(Text(" ".join(said), selection.numbers()))
    return texts


def _hit(predicted: str | None, verdict: str) -> str:
    if predicted is None or verdict not in ("better", "worse", "equivalent"):
        return ""
    return ", as predicted" if verdict == predicted else ", against the prediction"
