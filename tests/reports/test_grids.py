"""Which images the figures show, in which order, on invented predictions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.artifacts.predictions import probabilities
from harness.records.record import Record
from harness.values import HarnessError
from reports import errors, grids
from tests.reports import records


def test_images_wrong_everywhere_come_surest_first(tmp_path: Path) -> None:
    """Exactly the images that no run gets right, ordered by mean confidence."""
    selection = records.selection(tmp_path)
    found = grids.wrong_everywhere(selection)
    ever_right = np.any([run.correct for run in selection.records], axis=0)
    assert sorted(found) == np.flatnonzero(~ever_right).tolist()
    sure = np.mean([probabilities(run.logits).max(1)[found] for run in selection.records], axis=0)
    assert (np.diff(sure) <= 0).all()


def test_unstable_images_come_most_divided_first(tmp_path: Path) -> None:
    """Exactly the images that some runs of a variant get right and others wrong; an even split comes first."""
    selection = records.selection(tmp_path, seeds=(0, 1, 2, 3))
    found = grids.most_unstable(selection)
    shares = {v: np.mean([run.correct for run in runs], axis=0) for v, runs in selection.variants.items()}
    unstable = {v: np.flatnonzero((share > 0) & (share < 1)).tolist() for v, share in shares.items()}
    assert {v: images.tolist() for v, images in errors.unstable_within(selection).items()} == unstable
    assert sorted(found) == sorted(set().union(*unstable.values()))
    divided = np.sum([share * (1 - share) for share in shares.values()], axis=0)
    assert (np.diff(divided[found]) <= 1e-9).all()


def test_one_seed_makes_no_image_unstable(tmp_path: Path) -> None:
    """Variants that disagree with each other are not unstable in themselves."""
    assert len(grids.most_unstable(records.selection(tmp_path, seeds=(0,)))) == 0


def test_changed_images_come_clearest_first(tmp_path: Path) -> None:
    """Those on which all runs of either side agree stand before those that only most agree on."""
    selection = records.selection(tmp_path)
    share = {v: np.mean([run.correct for run in runs], axis=0) for v, runs in selection.variants.items()}
    changed = np.flatnonzero(share["batch"] != share["group"])
    ordered = grids.clearest_first(selection, changed, "group")
    assert sorted(ordered) == changed.tolist()
    assert (np.diff(np.abs(share["batch"] - share["group"])[ordered]) <= 1e-9).all()
    assert ordered.tolist() != changed.tolist()


def answer(record: Record, logits: np.ndarray) -> None:
    """Let a run answer so."""
    assert record.predictions
    np.savez(record.predictions, logits=logits, labels=record.labels)


def test_variants_that_predict_the_same_share_a_line(tmp_path: Path) -> None:
    """Of three that agree one line; a pair keeps a line each; of a name too long its end goes, never the percentage.

    Every line begins with ✓ or ✗, by the image's true class, which stands above."""
    names = ("batch", "group", "a_variant_of_a_very_long_name")
    made = [records.record(tmp_path, name, 0, records.started("batch", 0)) for name in names]
    sure = np.where(np.arange(3) == 1, 9.0, 0.0)[None].repeat(records.IMAGES, 0)
    for record, name in zip(made, names, strict=True):
        record.__dict__["variant"] = name
        answer(record, sure)
    answer(made[2], sure[:, [1, 0, 2]])
    selection = records.arranged([], records.design(names, (0,)))
    selection.__dict__.update(
        records=tuple(made), variants={name: [run] for name, run in zip(names, made, strict=True)}
    )
    images = grids.Images(np.zeros((records.IMAGES, 8, 8, 3), np.uint8))

    def lines(variants: Sequence[str]) -> list[str]:
        figure = grids.image_grid(images, np.array([0]), selection, variants, "Images")
        return figure.axes[0].texts[0].get_text().split("\n")

    assert lines(names) == ["cat", "✗ 2 of 3: dog 100%", "✓ a_variant_of_a_ve…: cat 100%"]
    assert lines(names[:2]) == ["cat", "✗ batch: dog 100%", "✗ group: dog 100%"]
    answer(made[2], sure)
    del selection.__dict__["answers"], made[2].__dict__["predicted"]
    assert lines(names) == ["cat", "✗ all 3: dog 100%"]


def test_images_remember_what_was_shown() -> None:
    """What a figure shows is what a published report must keep."""
    images = grids.Images({3: np.zeros((2, 2, 3), np.uint8), 5: np.ones((2, 2, 3), np.uint8)})
    assert images.take([5, 3])[0].max() == 1
    assert images.shown == {3, 5}


def test_an_image_that_was_not_published_is_one_line() -> None:
    """Figures made anew may want other images than the old ones: what to do is said."""
    images = grids.Images({3: np.zeros((2, 2, 3), np.uint8)})
    with pytest.raises(HarnessError, match=r"^test image 4 is not among those published; publish the report again$"):
        images.take([3, 4])
