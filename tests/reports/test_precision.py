"""What pairing gains and where errors come from, on numbers made for it, and in sentences."""

from pathlib import Path

import numpy as np
import pytest

from reports import precision
from reports.precision import Precision, image_error
from tests.reports import records
from tests.reports.test_frames import with_validation

GROUP = Precision("group", 7, 0.43, -0.48, 0.89, 0.58, 0.25, 0.11)


def test_pairing_is_measured_by_its_variance(tmp_path: Path) -> None:
    """Four seeds that move both variants alike: the difference keeps 1% of the variance of unpaired runs."""
    selection = records.selection(tmp_path, seeds=(0, 1, 2, 3))
    for record in selection.records:
        move = 0.01 * record.seed if record.variant == "batch" else 0.1 + 0.012 * record.seed
        record.__dict__["epochs"] = [records.epoch(1, 0.1), records.epoch(2, 0.5 + move)]
    (found,) = precision.precisions(selection)
    assert (found.variant, found.pairs) == ("group", 4)
    assert (found.correlation, found.correlation_low) == (pytest.approx(1), pytest.approx(1, abs=1e-3))
    assert found.variance_ratio == pytest.approx(0.2**2 / (1 + 1.2**2))
    assert found.seed_error == pytest.approx(0.2 * np.std([0, 1, 2, 3], ddof=1) / 2)


def test_three_seeds_know_no_correlation_and_one_knows_nothing(tmp_path: Path) -> None:
    (found,) = precision.precisions(records.selection(tmp_path))
    assert (found.correlation, found.correlation_high, found.variance_ratio) == (None, None, None)
    assert found.seed_error > 0
    alone = records.selection(tmp_path, seeds=(0,))
    assert precision.precisions(alone) == []
    assert precision.text(alone, []) == []


def test_the_images_error_is_freed_of_the_seeds() -> None:
    """Images whose difference has a spread of 0.2, seen by 5 seeds with 0.5 of their own: 0.2 / sqrt(images)."""
    rng = np.random.default_rng(4)
    made = [image_error(rng.normal(0, 0.2, 4_000) + rng.normal(0, 0.5, (5, 4_000))) for _ in range(50)]
    assert np.mean(made) == pytest.approx(0.2 / np.sqrt(4_000), rel=0.03)
    assert image_error(np.array([[1.0, -1.0], [-1.0, 1.0]])) == 0, "seeds explain more than all of it"


def test_validation_results_have_no_error_of_test_images(tmp_path: Path) -> None:
    assert all(found.image_error is None for found in precision.precisions(with_validation(tmp_path)))


def test_sentences_give_what_is_known(tmp_path: Path) -> None:
    """A share a variant, the range of either error, and what the verdicts hold for; nothing of what is not known."""
    selection = records.selection(tmp_path)
    other = Precision("layer", 7, 0.1, -0.7, 0.8, 0.91, 0.26, 0.09)
    (both,) = precision.text(selection, [GROUP, other])
    assert both.text == (
        "Paired by seed, the difference has 58% (group) and 91% (layer) of the variance that unpaired runs give it. "
        "The standard error of a difference is 0.25 to 0.26 points from the choice of seeds, and 0.09 to 0.11 points "
        "from the choice of test images. Verdicts account for seeds only: they hold for these 40 test images."
    )
    (few,) = precision.text(selection, [Precision("group", 3, None, None, None, None, 0.25, 0.11)])
    assert few.text.startswith("The standard error of a difference is 0.25 points from the choice of seeds, and 0.11")
    (held_out,) = precision.text(selection, [Precision("group", 7, 0.4, -0.4, 0.8, 0.58, 0.25, None)])
    assert "test images" not in held_out.text
    assert precision.table([GROUP]).rows == [("group", 7, "0.43", "-0.48 to 0.89", "58%", "0.25", "0.11")]
