"""Which images changed hands, on invented predictions."""

from pathlib import Path

import numpy as np

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


def test_images_wrong_everywhere_come_surest_first(tmp_path: Path) -> None:
    """Exactly the images that no run gets right, ordered by mean confidence."""
    selection = records.selection(tmp_path)
    found = errors.wrong_everywhere(selection)
    ever_right = np.any([run.correct for run in selection.records], axis=0)
    assert sorted(found) == np.flatnonzero(~ever_right).tolist()
    sure = np.mean([errors.confidence(run)[found] for run in selection.records], axis=0)
    assert (np.diff(sure) <= 0).all()


def test_images_remember_what_was_shown() -> None:
    """What a figure shows is what a published report must keep."""
    images = errors.Images({3: np.zeros((2, 2, 3), np.uint8), 5: np.ones((2, 2, 3), np.uint8)})
    assert images.take([5, 3])[0].max() == 1
    assert images.shown == {3, 5}


def test_checkpoint_tests_pair_runs_of_one_seed(tmp_path: Path) -> None:
    """A row for every seed that both variants have; counts are those of the predictions."""
    selection = records.selection(tmp_path)
    table = errors.checkpoints_table(selection)
    batch, group = selection.variants["batch"][0].correct, selection.variants["group"][0].correct
    assert [row[:2] for row in table.rows] == [("group", 0), ("group", 1), ("group", 2)]
    assert table.rows[0][2:4] == (int((group & ~batch).sum()), int((batch & ~group).sum()))
