"""Which images changed hands, on invented predictions."""

from pathlib import Path

import numpy as np

from harness.artifacts.predictions import probabilities
from reports import errors
from tests.reports import records


def test_flips_csv_counts_right_runs_of_every_variant(tmp_path: Path) -> None:
    """One row for each image that some run gets wrong, with how many runs of each variant are right."""
    selection = records.selection(tmp_path)
    frame = errors.flips_frame(selection).set_index("image")
    right = {variant: np.stack([run.correct for run in runs]) for variant, runs in selection.variants.items()}
    for image in range(records.IMAGES):
        counts = {variant: int(runs[:, image].sum()) for variant, runs in right.items()}
        if all(count == 3 for count in counts.values()):
            assert image not in frame.index
        else:
            assert {v: frame.loc[image, f"right_{v}"] for v in counts} == counts


def test_checkpoint_tests_pair_runs_of_one_seed(tmp_path: Path) -> None:
    """A row for every seed that both variants have; counts are those of the predictions."""
    selection = records.selection(tmp_path)
    table = errors.checkpoints_table(selection)
    batch, group = selection.variants["batch"][0].correct, selection.variants["group"][0].correct
    assert [row[:2] for row in table.rows] == [("group", 0), ("group", 1), ("group", 2)]
    assert table.rows[0][2:4] == (int((group & ~batch).sum()), int((batch & ~group).sum()))
    assert "This table answers another question than the verdicts" in table.caption


def test_flips_stand_beside_chance_and_instability(tmp_path: Path) -> None:
    """The counts of `reports.checkpoints`, and for the baseline at least how many of its images are unstable."""
    selection = records.selection(tmp_path)
    found = errors.all_flips(selection)
    table = errors.flips_table(selection, found)
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    chance = found["group"].by_chance_per_pair
    assert chance is not None
    assert rows["group"]["by chance per pair"] == f"{chance:.0f}"
    assert rows["group"]["fixed by all"] == len(found["group"].surely_fixed)
    unstable = errors.unstable_within(selection)
    assert rows["group"]["unstable"] == len(unstable["group"])
    assert rows["batch"]["unstable"] == len(unstable["batch"])
    assert rows["batch"]["fixed per pair"] is None


def test_one_run_a_variant_leaves_out_what_only_several_tell(tmp_path: Path) -> None:
    """No chance, no majority, no instability: what changed hands, once."""
    selection = records.selection(tmp_path, seeds=(0,))
    found = errors.all_flips(selection)
    table = errors.flips_table(selection, found)
    assert table.columns == ("variant", "fixed", "broken")
    assert table.rows == [("group", found["group"].fixed_per_pair, found["group"].broken_per_pair)]


def test_calibration_stands_beside_the_accuracy_it_is_of(tmp_path: Path) -> None:
    """Mean confidence and mean accuracy, so that a reader sees on which side the networks err."""
    selection = records.selection(tmp_path)
    row = errors.calibration_table(selection).rows[0]
    runs = selection.variants["batch"]
    assert row[2] == f"{100 * np.mean([probabilities(run.logits).max(1).mean() for run in runs]):.2f}"
    assert row[3] == f"{100 * np.mean([run.correct.mean() for run in runs]):.2f}"
