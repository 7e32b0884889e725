"""What variants' runs answer is read run by run, says what all logits at once would say, and keeps none of them."""

from pathlib import Path

import numpy as np
import pytest

from harness.artifacts.predictions import confusion, probabilities
from harness.records import arrays
from reports.checkpoints import expected_calibration_error, reliability
from tests.reports import records


def test_reading_run_by_run_says_what_all_logits_at_once_say(tmp_path: Path) -> None:
    """Means over runs, calibration run by run and of all runs joined, confusions, each against its definition."""
    selection = records.selection(tmp_path)
    found, runs = selection.answers["group"], selection.variants["group"]
    chances = np.stack([probabilities(run.logits) for run in runs])
    right = chances.argmax(2) == runs[0].labels
    assert (found.correct == right).all()
    assert (found.predicted == chances.argmax(2)).all()
    np.testing.assert_allclose(found.chance, chances.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.confidence, chances.max(2).sum(0), rtol=1e-12)
    np.testing.assert_allclose(found.mean_confidence, chances.max(2).mean(1), rtol=1e-12)
    each = [expected_calibration_error(chance.max(1), ok) for chance, ok in zip(chances, right, strict=True)]
    np.testing.assert_allclose(found.calibration_errors, each, rtol=1e-12)
    joined = reliability(chances.max(2).ravel(), right.ravel())
    assert found.curve.count.tolist() == joined.count.tolist()
    np.testing.assert_allclose(found.curve.confidence, joined.confidence, rtol=1e-12)
    np.testing.assert_allclose(found.curve.accuracy, joined.accuracy, rtol=1e-12)
    cells = [confusion(runs[0].labels, chance.argmax(1), 3) for chance in chances]
    assert found.confusion.tolist() == np.sum(cells, axis=0).tolist()


def test_no_run_keeps_its_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run keeps a byte an image for what it predicts and one for whether that is right; each file is read once."""
    selection, read, load = records.selection(tmp_path), list[Path](), arrays.read
    monkeypatch.setattr(arrays, "read", lambda file, expected: (read.append(file), load(file, expected))[1])
    assert len(selection.answers) == 2
    assert sorted(read) == sorted(record.predictions for record in selection.records if record.predictions)
    for record in selection.records:
        kept = [value for value in record.__dict__.values() if isinstance(value, np.ndarray)]
        assert [array.nbytes for array in kept] == [records.IMAGES] * 2


def test_predictions_that_change_under_one_name_are_read_again(tmp_path: Path) -> None:
    """The file read last is remembered by its content's size and time, not by its name alone."""
    record = records.record(tmp_path, "batch", 0)
    before, labels = record.logits, record.labels
    assert record.predictions
    np.savez(record.predictions, logits=before + 1, labels=labels)
    assert (record.logits == before + 1).all()
