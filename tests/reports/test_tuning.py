"""What a report says of tuning: numbers from the trials, an optimum at the edge in the answer, trials that diverged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.plans.hyperparameters import SGD
from harness.plans.tuning import Choice, LogUniform, Range, Trial, Tuned, Tuning
from reports import guard, prose, recipe, tuning
from reports.document import Picture
from reports.frames import comparisons
from reports.sections import Report
from reports.select import Selection
from tests.reports import records

RATES: dict[str, Range] = {"optimizer.lr": LogUniform(0.001, 1.0)}
BATCH, GROUP = (0.6, 0.9, None, 0.3), (0.7, 0.75, 0.72, 0.71)
POINTS = (0.1, 0.02, 0.9, 0.0011)


def trials(variant: str, scores: tuple[float | None, ...], points: tuple[float, ...] = POINTS) -> tuple[Trial, ...]:
    return tuple(
        Trial(
            variant=variant,
            number=n,
            values={"optimizer.lr": point},
            key=f"{variant}{n}",
            seed=2_000_000_000 + n,
            score=score,
            train_seconds=2.5,
        )
        for n, (score, point) in enumerate(zip(scores, points, strict=True))
    )


def tuned(batch: tuple[float | None, ...] = BATCH, group: tuple[float | None, ...] = GROUP) -> Tuned:
    made = (*trials("batch", batch), *trials("group", group))
    return Tuned(asked=Tuning(space=RATES, trials=4), base={"optimizer.lr": 0.1}, trials=made)


def selected(folder: Path, found: Tuned) -> Selection:
    selection = records.selection(folder)
    return replace(selection, summary=selection.summary.model_copy(update={"tuned": found}))


def test_a_row_a_variant_says_what_was_chosen_and_where_it_lies() -> None:
    """The best of the trials that did not diverge, how many did, and the end of the range that it lies near."""
    narrow = tuned(batch=(0.6, 0.7, None, 0.8))
    assert [tuple(row) for row in tuning.best_table(narrow).rows] == [
        ("batch", "0.0011", "80.00", 4, 1, "optimizer.lr: low end"),
        ("group", "0.02", "75.00", 2, 0, "inside"),
    ]


def test_an_optimum_at_the_edge_is_said_in_the_answer(tmp_path: Path) -> None:
    """The last sentence of the answer, on the terminal and in MLflow too; where it lies inside nothing is said."""
    selection = selected(tmp_path, tuned(batch=(0.6, 0.7, None, 0.8)))
    said = prose.answer(selection, comparisons(selection))[-1].text
    assert said == (
        "The best optimizer.lr of batch lies at the low end of the range in which it was tuned: the range may be too "
        "narrow, and this variant better than it is shown here."
    )
    assert recipe.too_narrow(selected(tmp_path, tuned())) == []
    assert recipe.too_narrow(records.selection(tmp_path)) == []


def test_diverged_trials_are_marked_in_figure_and_table() -> None:
    """A cross at the bottom of the panel, a dash in the table of all trials, in the colour of its variant."""
    half = tuned(batch=(0.6, None, 0.5, None))
    (panel,) = tuning.trial_panels(half)
    drawn = [np.asarray(c.get_offsets()).tolist() for c in panel.axes[0].collections]
    assert [[0.02, 50.0], [0.0011, 50.0]] in drawn
    dashes = [row[1] for row in tuning.trials_table(half).rows if row[3] is None]
    assert dashes == [2, 4]
    assert tuning.trials_table(half).folded == "All 8 trials"


def test_the_report_says_whether_the_winner_depends_on_the_budget() -> None:
    """group is steadier, batch has the one higher trial: one or two trials favour group, more of them batch."""
    assert tuning.budget_in_words(tuned()) == (
        "On held-out images the variant expected highest depends on the budget: group with 1 to 2 trials and batch "
        "with 3 to 4 trials."
    )
    ahead = tuned(batch=(0.8, 0.9, 0.85, 0.8))
    assert tuning.budget_in_words(ahead) == (
        "On held-out images batch would be expected highest with any budget from 1 to 4 trials: as far as these trials "
        "tell, who comes first does not depend on the budget."
    )


def test_the_curves_are_the_unbiased_estimate_and_a_diverged_trial_is_worth_nothing() -> None:
    """0.9 is in half of all pairs of four trials, 0.6 the best of a third, 0.3 of a sixth, beside one worth 0."""
    (line, _) = tuning.budget_figure(tuned()).axes[0].lines
    pairs = (3 * 90 + 2 * 60 + 1 * 30) / 6
    assert np.asarray(line.get_ydata())[:2] == pytest.approx([45.0, pairs])


def test_untuned_and_tuned_ranks_stand_side_by_side(tmp_path: Path) -> None:
    """Untuned is the first trial, which has the values of the experiment's file."""
    rows = {row[0]: row[1:3] for row in tuning.ranks_table(selected(tmp_path, tuned()), tuned()).rows}
    assert rows == {"batch": ("60.00 (2)", "90.00 (1)"), "group": ("70.00 (1)", "75.00 (2)")}


def test_how_it_was_tuned_is_told_as_it_was() -> None:
    """The same points only where they are the same, the file's own values only where the first trial has them."""
    said = tuning.how(tuned())
    assert said.startswith(
        "Tuned for each variant alike, with 4 trials: optimizer.lr from 0.001 to 1 by its logarithm."
    )
    assert "trained on 90% of the training images and scored on the other 10% after its last epoch" in said
    assert "The variants tried the same points; the first has the values of the experiment's file." in said
    other = tuned().model_copy(
        update={"trials": (*trials("batch", BATCH), *trials("group", GROUP, (0.2, 0.3, 0.4, 0.5)))}
    )
    assert "The variants tried points of their own. The values" in tuning.how(other)


def test_the_base_recipe_says_what_was_tuned_and_what_was_not(tmp_path: Path) -> None:
    """One line either way: nothing was tuned, at these fixed values; or what was, and with how many trials."""
    assert recipe.base_recipe(records.selection(tmp_path)).text.endswith("; nothing was tuned for any of them.")
    assert recipe.base_recipe(selected(tmp_path, tuned())).text.endswith(
        " The other variants use the same settings except for the factor and optimizer.lr, which was tuned for each "
        "with 4 trials."
    )


def test_another_metric_is_written_in_its_own_unit_and_direction(tmp_path: Path) -> None:
    """Scored by loss, group's lowest trial is the best; no percent, and the diverged trial counts as the worst."""
    found = tuned(batch=(1.5, 0.9, None, 1.2), group=(0.8, 0.7, 0.75, 0.9)).model_copy(update={"metric": "test_loss"})
    selection = selected(tmp_path, found)
    design = selection.design.model_copy(update={"primary_metric": "test_loss"})
    selection = replace(selection, summary=selection.summary.model_copy(update={"design": design}))
    best = tuning.best_table(found)
    assert best.columns[2] == "validation loss"
    assert [row[2] for row in best.rows] == ["0.9", "0.7"]
    assert best.caption.startswith(
        "The best trial of each variant by held-out images: one run, the lowest of several, so its loss is too low"
    )
    ranks = tuning.ranks_table(selection, found)
    assert ranks.columns == ("variant", "untuned, validation", "tuned, validation", "tuned, test over seeds")
    assert [row[1:3] for row in ranks.rows] == [("1.5 (2)", "0.9 (2)"), ("0.8 (1)", "0.7 (1)")]
    assert "scored on the other 10% by loss after its last epoch" in tuning.how(found)
    assert tuning.budget_in_words(found).startswith("On held-out images group would be expected lowest with any budget")
    (line, _) = tuning.budget_figure(found).axes[0].lines
    assert np.asarray(line.get_ydata())[[0, 3]] == pytest.approx([(1.5 + 0.9 + 1.5 + 1.2) / 4, 0.9])
    report = Report(selection, tmp_path)
    tuning.section(report)
    captions = [block.caption for block in report.blocks if isinstance(block, Picture)]
    assert captions[0].startswith("Validation loss of every trial; ")
    assert captions[1].endswith("all subsets of the trials made; one that diverged counts as the worst other, 1.5")


def test_tuning_is_part_of_the_cost(tmp_path: Path) -> None:
    """Eight trials of 2.5 seconds beside six runs of 4."""
    (said,) = tuning.cost(selected(tmp_path, tuned()))
    assert said.text == "Tuning took 8 trials and 20 s of training, beside 24 s for the runs that are compared."
    assert tuning.cost(records.selection(tmp_path)) == []


def test_runs_may_differ_in_what_was_tuned_and_in_nothing_else(tmp_path: Path) -> None:
    """The guard takes a tuned rate for a part of the question where the design declares it."""
    selection = selected(tmp_path, tuned())
    rates = {"batch": 0.02, "group": 0.1}
    changed = []
    for run in selection.records:
        spec = run.started.spec
        asked = spec.recipe.model_copy(update={"optimizer": SGD(lr=rates[run.variant])})
        first = run.started.model_copy(update={"spec": spec.model_copy(update={"recipe": asked})})
        changed.append(replace(run, events=(first, *run.events[1:])))
    design = selection.design.model_copy(update={"tuned": ("optimizer.lr",)})
    assert guard.differences(changed, design.may_differ) == ()
    (refused,) = guard.differences(changed, selection.design.may_differ)
    assert refused.field == "optimizer.lr"


def test_the_section_holds_every_part_and_nothing_where_nothing_was_tuned(tmp_path: Path) -> None:
    report = Report(selected(tmp_path, tuned()), tmp_path)
    tuning.section(report)
    kinds = [type(block).__name__ for block in report.blocks]
    assert kinds == ["Heading", "Text", "Table", "Table", "Picture", "Text", "Picture", "Table"]
    empty = Report(records.selection(tmp_path), tmp_path)
    tuning.section(empty)
    assert empty.blocks == []


def test_choices_are_drawn_by_name() -> None:
    space: dict[str, Range] = {"batch_size": Choice((8, 16))}
    made = tuple(
        each.model_copy(update={"values": {"batch_size": size}})
        for each, size in zip(trials("batch", (0.5, 0.6), (0.1, 0.2)), (8, 16), strict=True)
    )
    found = Tuned(asked=Tuning(space=space, trials=2), base={"batch_size": 64}, trials=made)
    (panel,) = tuning.trial_panels(found)
    assert [label.get_text() for label in panel.axes[0].get_xticklabels()] == ["8", "16"]
    assert "batch_size of 8, 16." in tuning.how(found)
    assert tuning.budget_in_words(found) == "One variant was tuned, so no budget is compared."
