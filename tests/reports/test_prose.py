"""The sentences of a report say what the runs show, no more, and cite them."""

from dataclasses import replace
from pathlib import Path

import pytest

from reports import errors, prose
from reports.guard import Difference
from reports.statistics import Verdict, compare
from tests.reports import records
from tests.reports.test_frames import with_validation

VARIANTS = ("batch", "group", "layer")
BEST = {"batch": (0.9, 0.8, 0.7), "group": (0.7, 0.9, 0.8)}
"""Last accuracies of VARIANTS, such that the variant named comes out highest."""


def said(folder: Path, best: str, *verdicts: Verdict) -> tuple[str, tuple[int, ...]]:
    """The headline of a report of one seed in which `best` is highest and the others have these verdicts."""
    made = [records.record(folder, variant, 0) for variant in VARIANTS]
    for record, accuracy in zip(made, BEST[best], strict=True):
        record.__dict__["epochs"] = [records.epoch(1, 0.1), records.epoch(2, accuracy)]
    selection = records.arranged(made, records.design(VARIANTS, (0,)))
    results = {variant: {0: 1.0} for variant in VARIANTS}
    comparisons = [
        replace(c, verdict=verdict) for c, verdict in zip(compare(results, "batch", 0.5), verdicts, strict=True)
    ]
    text = prose.headline(selection, comparisons)
    return text.text, text.runs


def test_a_baseline_that_everything_is_shown_to_be_behind_is_the_best(tmp_path: Path) -> None:
    assert said(tmp_path, "batch", "worse", "worse") == (
        "batch came out highest: 90.00% test accuracy over 1 seed. Every other variant is shown to be worse, so this "
        "is hardly chance.",
        (1, 2, 3),
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
    assert said(tmp_path, "group", "better", "worse")[0].endswith(f"over 1 seed. It is shown to be {end}")
    assert said(tmp_path, "group", "not decided", "worse")[0].endswith(f"over 1 seed. It is not shown to be {end}")


def test_variants_that_come_out_level_are_both_named(tmp_path: Path) -> None:
    """The baseline first, whatever the order."""
    made = [records.record(tmp_path, variant, 0) for variant in VARIANTS]
    for record, accuracy in zip(made, (0.8, 0.8, 0.7), strict=True):
        record.__dict__["epochs"] = [records.epoch(1, 0.1), records.epoch(2, accuracy)]
    asked = records.design(VARIANTS, (0,)).model_copy(update={"baseline": "group"})
    text = prose.headline(records.arranged(made, asked), ())
    assert text.text.startswith("group came out highest, level with batch: 80.00% test accuracy over 1 seed.")


def test_what_was_not_compared_is_not_shown_to_be_worse(tmp_path: Path) -> None:
    """A variant that has no seed in common with the baseline, and one that has no result at all."""
    made = [records.record(tmp_path, variant, seed) for variant, seed in (("batch", 0), ("group", 1))]
    for record, accuracy in zip(made, (0.9, 0.7), strict=True):
        record.__dict__["epochs"] = [records.epoch(1, 0.1), records.epoch(2, accuracy)]
    selection = records.arranged(made, records.design(VARIANTS, (0, 1)))
    assert prose.headline(selection, ()).text.endswith("do not show that it is better than group or layer.")


def test_a_single_variant_is_the_best_of_nothing(tmp_path: Path) -> None:
    selection = records.selection(tmp_path, ("batch",))
    text = prose.headline(selection, ())
    assert text.text.startswith("batch: ")
    assert text.text.endswith("% test accuracy over 3 seeds.")
    assert "±" in text.text


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
    """One sentence of what nobody gets right, and one a variant, citing its runs and the baseline's."""
    selection = records.selection(tmp_path, VARIANTS)
    found = errors.all_flips(selection)
    never, group, layer = prose.changed_hands(selection, found, 7)
    assert never.text == "7 of 40 test images are wrong in every run."
    flips = found["group"]
    assert group.text == (
        f"Take a run of group and a run of batch: group is right on {flips.fixed_per_pair:.0f} images that batch gets "
        f"wrong, and wrong on {flips.broken_per_pair:.0f} that batch gets right. Two runs that differ in their seed "
        f"alone exchange {flips.by_chance_per_pair:.0f} each way."
    )
    assert (group.runs, layer.runs) == ((1, 2, 3, 4, 5, 6), (1, 2, 3, 7, 8, 9))


def test_variants_that_share_their_weights_are_said_to_be_one_network(tmp_path: Path) -> None:
    selection = records.selection(tmp_path)
    said = "With the same seed both are one network, weight for weight: only the evaluation differs."
    assert said not in prose.changed_hands(selection, errors.all_flips(selection), 0)[1].text
    for batch, group in zip(*selection.variants.values(), strict=True):
        group.__dict__["finished"] = batch.finished
    assert said in prose.changed_hands(selection, errors.all_flips(selection), 1)[1].text
    assert prose.changed_hands(selection, {}, 1)[0].text == "1 of 40 test images is wrong in every run."


def test_one_seed_knows_nothing_of_chance(tmp_path: Path) -> None:
    selection = records.selection(tmp_path, seeds=(0,))
    text = prose.changed_hands(selection, errors.all_flips(selection), 0)[1].text
    assert text.endswith("How many that would be by chance, one seed cannot tell.")
