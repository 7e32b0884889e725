"""The sentences of a report say what the runs show, no more, and cite them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.records.events import Diverged, Failed
from harness.records.record import Record
from reports import errors, frames, prose
from reports.guard import Difference
from reports.select import Selection
from reports.statistics import Verdict, compare
from tests.reports import records
from tests.reports.test_frames import with_validation

VARIANTS = ("batch", "group", "layer")
BEST = {"batch": (0.9, 0.8, 0.7), "group": (0.7, 0.9, 0.8)}
"""Last accuracies of VARIANTS, such that the variant named comes out highest."""


def scored(folder: Path, accuracies: dict[str, float], seeds: tuple[int, ...] = (0, 1)) -> Selection:
    """Runs of these variants, whose last accuracies are these at every seed."""
    made = [records.record(folder, variant, seed) for variant in accuracies for seed in seeds]
    for record in made:
        record.__dict__["epochs"] = [records.epoch(1, 0.1), records.epoch(2, accuracies[record.variant])]
    return records.arranged(made, records.design(tuple(accuracies), seeds))


def said(folder: Path, best: str, *verdicts: Verdict) -> tuple[str, tuple[int, ...]]:
    """The headline of a report of two seeds in which `best` is highest and the others have these verdicts."""
    selection = scored(folder, dict(zip(VARIANTS, BEST[best], strict=True)))
    results = {variant: {0: 1.0} for variant in VARIANTS}
    comparisons = [
        replace(c, verdict=verdict) for c, verdict in zip(compare(results, "batch", 0.5), verdicts, strict=True)
    ]
    text = prose.headline(selection, comparisons)
    return text.text, text.runs


def test_a_baseline_that_everything_is_shown_to_be_behind_is_the_best(tmp_path: Path) -> None:
    assert said(tmp_path, "batch", "worse", "worse") == (
        "batch came out highest: 90.00 ± 0.00% test accuracy over 2 seeds. Every other variant is shown to be worse.",
        (1, 2, 3, 4, 5, 6),
    )


@pytest.mark.parametrize(
    ("verdicts", "names"),
    [(("worse", "not decided"), "layer"), (("equivalent", "worse"), "group"), (("not decided",) * 2, "group or layer")],
)
def test_what_is_not_shown_is_said_by_name(tmp_path: Path, verdicts: tuple[Verdict, Verdict], names: str) -> None:
    text, _ = said(tmp_path, "batch", *verdicts)
    assert text.endswith(f" These runs do not show that it is better than {names}.")


def test_another_variant_ahead_is_better_only_if_shown(tmp_path: Path) -> None:
    """And never better than the variants that it was not compared with."""
    end = "better than batch, the baseline, with which alone variants are compared."
    assert said(tmp_path, "group", "better", "worse")[0].endswith(f"over 2 seeds. It is shown to be {end}")
    assert said(tmp_path, "group", "not decided", "worse")[0].endswith(f"over 2 seeds. It is not shown to be {end}")


def test_variants_that_come_out_level_are_both_named(tmp_path: Path) -> None:
    """The baseline first, whatever the order."""
    level = scored(tmp_path, {"batch": 0.8, "group": 0.8, "layer": 0.7})
    asked = level.design.model_copy(update={"baseline": "group"})
    text = prose.headline(records.arranged(list(level.records), asked), ())
    assert text.text.startswith("group came out highest, level with batch: 80.00 ± 0.00% test accuracy over 2 seeds.")


def test_what_was_not_compared_is_not_shown_to_be_worse(tmp_path: Path) -> None:
    """A variant that has no seed in common with the baseline, and one that has no result at all."""
    made = [*scored(tmp_path, {"batch": 0.9}).records, *scored(tmp_path, {"group": 0.7}, (2, 3)).records]
    selection = records.arranged(made, records.design(VARIANTS, (0, 1, 2, 3)))
    assert prose.headline(selection, ()).text.endswith("do not show that it is better than group or layer.")


def test_one_seed_ranks_nothing(tmp_path: Path) -> None:
    """No variant is named best: 89.68% of one run against 89.58% of another is a matter of the seed."""
    selection = scored(tmp_path, {"batch": 0.9, "group": 0.7, "layer": 0.8}, (0,))
    assert prose.headline(selection, frames.comparisons(selection)).text == (
        "One seed ranks nothing, and every variant has run with one: test accuracy is 70.00% to 90.00%. "
        "It takes at least 6 seeds to show a difference."
    )
    same = scored(tmp_path, {"batch": 0.9, "group": 0.9}, (0,))
    assert "test accuracy is 90.00%. It takes at least 6 seeds" in prose.headline(same, ()).text


def test_one_run_beside_several_ranks_nothing_either(tmp_path: Path) -> None:
    made = [*scored(tmp_path, {"batch": 0.7}).records, *scored(tmp_path, {"group": 0.9}, (0,)).records]
    text = prose.headline(records.arranged(made, records.design(seeds=(0, 1))), ()).text
    assert text.startswith("One seed ranks nothing, and group has run with one: test accuracy is 70.00% to 90.00%.")
    assert "highest" not in text


@pytest.mark.parametrize("variants", [("batch",), ("batch", "group")])
def test_a_headline_over_survivors_says_so(tmp_path: Path, variants: tuple[str, ...]) -> None:
    """Two of four runs diverged and one failed: the mean of the rest is not that of the recipe."""
    whole = records.selection(tmp_path, variants, (0, 1))
    assert "diverged" not in prose.headline(whole, ()).text
    lost = [
        records.record(tmp_path, variants[-1], seed, end=end)
        for seed, end in (
            (2, Diverged(time=1.0, step=7, where="train")),
            (3, Diverged(time=1.0, step=9, where="train")),
            (4, Failed(time=1.0, error="no memory")),
        )
    ]
    selection = records.arranged([*whole.records, *lost], records.design(variants, (0, 1, 2, 3, 4)))
    assert prose.headline(selection, ()).text.endswith(
        f" But 2 of 5 runs of {variants[-1]} diverged and 1 of 5 runs of {variants[-1]} failed: "
        "the results are of the runs that are left, which may flatter them."
    )


def test_runs_not_made_yet_are_no_survivors(tmp_path: Path) -> None:
    """A banner counts them; they flatter nobody."""
    made = list(records.selection(tmp_path).records)
    assert "flatter" not in prose.headline(records.arranged(made, records.design(seeds=(0, 1, 2, 3))), ()).text


def test_a_question_asked_of_other_images_says_so(tmp_path: Path) -> None:
    """ "Of small handwritten digits", answered on photographs: under the question, and in a report without results."""
    selection = records.selection(tmp_path, ("batch",))
    assert prose.asked_of(selection) is None
    design = selection.design.model_copy(update={"changed": {"data.name": ("mnist", "digits"), "epochs": (3, 2)}})
    other = prose.asked_of(records.arranged(list(selection.records), design))
    assert other
    assert (other.text, other.runs) == ("The question was asked of mnist; it is answered on digits.", (1, 2, 3))
    named = design.model_copy(update={"changed": {"data.name": ("digits", "folder:x/digits")}})
    moved = prose.asked_of(records.arranged(list(selection.records), named))
    assert moved
    assert moved.text == "The question was asked of digits; it is answered on folder:x/digits."
    empty = prose.asked_of(records.arranged([], design))
    assert empty
    assert empty.text == "The question was asked of mnist; it is answered on digits."


def of_labels(monkeypatch: pytest.MonkeyPatch, *counts: int) -> None:
    """Every run's test images: so many of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    monkeypatch.setattr(Record, "labels", property(lambda _: labels))


def test_an_uneven_test_set_is_said_beside_the_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """39 of 40 images in one class: "97.50% test accuracy" is what one answer for all of them gives."""
    selection = records.selection(tmp_path)
    assert "uneven" not in prose.setting(selection).text
    of_labels(monkeypatch, 1, 39)
    assert (
        "2 epochs a run. The test set is uneven: 98% of its images are of class dog. A network that always answers dog "
        "would have 97.50% test accuracy. Every variant" in prose.setting(selection).text
    )


@pytest.mark.parametrize(("largest", "said"), [(20, False), (21, True)])
def test_uneven_begins_at_one_and_a_half_times_the_equal_share(
    tmp_path: Path, largest: int, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three classes an equal share is a third: half of all images is the most that goes unsaid."""
    selection = records.selection(tmp_path, ("batch",))
    of_labels(monkeypatch, largest, 10, 30 - largest)
    assert ("uneven" in prose.setting(selection).text) == said


@pytest.mark.parametrize(("largest", "said"), [(24, False), (25, True)])
def test_of_two_classes_more_than_three_fifths_is_uneven(
    tmp_path: Path, largest: int, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = records.selection(tmp_path, ("batch",))
    data = selection.records[0].started.data.model_copy(update={"classes": ("cat", "dog")})
    of_labels(monkeypatch, largest, 40 - largest)
    for record in selection.records:
        record.__dict__["started"] = record.started.model_copy(update={"data": data})
    assert ("uneven" in prose.setting(selection).text) == said


def test_a_single_variant_is_the_best_of_nothing(tmp_path: Path) -> None:
    selection = records.selection(tmp_path, ("batch",))
    text = prose.headline(selection, ())
    assert text.text.startswith("batch: ")
    assert text.text.endswith("% test accuracy over 3 seeds.")
    assert "±" in text.text


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (("group",), "over 3 seeds. group has no result, so nothing is compared."),
        (("group", "layer"), "over 3 seeds. group and layer have no result, so nothing is compared."),
    ],
)
def test_a_variant_without_the_others_is_not_compared(tmp_path: Path, others: tuple[str, ...], said: str) -> None:
    made = list(records.selection(tmp_path, ("batch",)).records)
    asked = records.design(("batch", *others), (0, 1, 2))
    assert prose.headline(records.arranged(made, asked), ()).text.endswith(said)


def test_the_setting_says_what_was_compared_how(tmp_path: Path) -> None:
    text = prose.setting(records.selection(tmp_path))
    assert text.text == (
        "Images: digits, 100 for training and 40 for testing; 2 epochs a run. Every variant is compared with batch, "
        "run by run of the same seed. Differences below 0.5 points are taken not to matter."
    )
    assert text.runs == (1, 2, 3, 4, 5, 6)
    held = with_validation(tmp_path)
    for record in held.records:
        data = record.started.data.model_copy(update={"train_images": 80, "validation_images": 20})
        record.__dict__["started"] = record.started.model_copy(update={"data": data})
    assert prose.setting(held).text.startswith("Images: digits, 80 for training, 20 for validation and 40 for testing;")


def test_what_the_command_line_changed_is_told(tmp_path: Path) -> None:
    selection = records.selection(tmp_path, ("batch",))
    assert prose.changed(selection) is None
    fields = {"epochs": (24, 2), "data.title": (None, "Digits")}
    fields |= {f"lr_finder.{part}": (1, None) for part in ("start_lr", "end_lr")}
    design = selection.design.model_copy(update={"changed": fields})
    changed = prose.changed(replace(selection, summary=selection.summary.model_copy(update={"design": design})))
    assert changed
    assert changed.text == (
        "Not as in the experiment's file, but changed for these runs: epochs 2 instead of 24, data.title Digits "
        "instead of none and lr_finder none."
    )
    assert changed.runs == selection.numbers()


def test_what_else_differs_is_weighed(tmp_path: Path) -> None:
    """Nothing, something harmless, or something that could explain the result."""
    selection = records.selection(tmp_path, seeds=(0,))
    commit = Difference("environment.commit", (("'a'", 1), ("'b'", 1)), harmless=True)
    threads = Difference("threads", (("1", 1), ("2", 1)), harmless=False)
    assert prose.what_differs(selection, ()).text.startswith(
        "The variants differ in model.norm. Nothing else differs between these runs: the images, the training code,"
    )
    assert prose.what_differs(selection, [commit]).text == (
        "The variants differ in model.norm. What else differs, listed below, cannot change a result."
    )
    assert prose.what_differs(selection, [commit, threads]).text == (
        "The variants differ in model.norm, but also in threads, which could explain a difference."
    )
    block = replace(threads, field="environment.code", block=True)
    assert prose.what_differs(selection, [commit, block]).text == (
        "The variants differ in model.norm. Seeds differ in environment.code, the same for all variants of each, so "
        "pairs remain comparable (blocks)."
    )
    assert prose.what_differs(selection, [block, threads]).text.endswith(
        "but also in threads, which could explain a difference."
    )
    wider = selection.design.model_copy(update={"factor": ("model.norm", "ema_decay")})
    asked = replace(selection, summary=selection.summary.model_copy(update={"design": wider}))
    assert prose.what_differs(asked, ()).text.startswith("The variants differ in model.norm. Nothing else")
    same = wider.model_copy(update={"factor": ("ema_decay",)})  # two variants of one recipe, to see what chance does
    asked = replace(selection, summary=selection.summary.model_copy(update={"design": same}))
    assert prose.what_differs(asked, ()).text.startswith("The variants differ in name alone. Nothing else differs")
    alone = records.selection(tmp_path, ("batch",), seeds=(0,))
    assert prose.what_differs(alone, ()).text.startswith("All runs are of batch. Nothing differs between these runs:")
    assert prose.what_differs(alone, [threads]).text == (
        "All runs are of batch, but differ in threads, which could explain a difference."
    )


def test_images_that_change_hands_are_counted_beside_chance(tmp_path: Path) -> None:
    """One sentence of what nobody gets right; a variant's net, and what a new seed swaps, with the runs of both."""
    selection = records.selection(tmp_path, VARIANTS)
    found = errors.all_flips(selection)
    found["group"] = replace(found["group"], fixed_per_pair=883.2, broken_per_pair=1041.4, by_chance_per_pair=897.3)
    found["layer"] = replace(found["layer"], fixed_per_pair=3.4, broken_per_pair=2.0, by_chance_per_pair=1.0)
    never, group, layer = prose.changed_hands(selection, found, 7)
    assert never.text == "7 of 40 test images are wrong in every run."
    assert group.text == (
        "Compared with a run of batch, a run of group loses 158 images net. Another seed alone flips 897 images each "
        "way."
    )
    assert layer.text == (
        "Compared with a run of batch, a run of layer gains 1 image net. Another seed alone flips 1 image each way."
    )
    assert (group.runs, layer.runs) == ((1, 2, 3, 4, 5, 6), (1, 2, 3, 7, 8, 9))
    found["group"] = replace(found["group"], broken_per_pair=883.0)
    level = prose.changed_hands(selection, found, 7)[1].text
    assert level.startswith("Compared with a run of batch, a run of group gains and loses no image net. Another seed")


def test_variants_that_share_their_weights_are_said_to_be_one_network(tmp_path: Path) -> None:
    selection = records.selection(tmp_path)
    said = "With the same seed both networks have the same weights: only the evaluation differs."
    assert said not in prose.changed_hands(selection, errors.all_flips(selection), 0)[1].text
    for batch, group in zip(*selection.variants.values(), strict=True):
        group.__dict__["finished"] = batch.finished
    assert said in prose.changed_hands(selection, errors.all_flips(selection), 1)[1].text
    assert prose.changed_hands(selection, {}, 1)[0].text == "1 of 40 test images is wrong in every run."


def test_one_seed_knows_nothing_of_chance(tmp_path: Path) -> None:
    selection = records.selection(tmp_path, seeds=(0,))
    text = prose.changed_hands(selection, errors.all_flips(selection), 0)[1].text
    assert text.endswith("One seed cannot tell how many images another seed alone would flip.")
