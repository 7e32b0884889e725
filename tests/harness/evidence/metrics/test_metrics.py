"""The metrics: their values beside scikit-learn's and torch's, how a further one is found, and what is refused."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from harness.evidence import metrics
from harness.evidence.metrics import Metric, registry
from harness.values import SpecError
from reports.checkpoints import expected_calibration_error


def compute(name: str, logits: np.ndarray, targets: np.ndarray) -> float:
    return metrics.of_primary(f"test_{name}").compute(logits, targets)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(2, 9), st.integers(0, 10**6))
def test_values_are_those_of_scikit_learn_and_torch(images: int, classes: int, seed: int) -> None:
    """Random logits of random targets, also with classes that have no image or are never predicted."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (images, classes)).astype(np.float32)
    targets = rng.integers(0, rng.integers(1, classes + 1), images)
    predicted = logits.argmax(1)
    present = np.unique(targets)
    recalls = np.array([(predicted[targets == each] == each).mean() for each in present])
    expected = {
        "accuracy": sklearn.accuracy_score(targets, predicted),
        "balanced_accuracy": np.mean(recalls),
        "worst_class_accuracy": np.min(recalls),
        "macro_f1": sklearn.f1_score(targets, predicted, average="macro"),
        "loss": torch.nn.functional.cross_entropy(torch.tensor(logits).double(), torch.tensor(targets)).item(),
    }
    if classes >= 6:
        expected["top5_accuracy"] = sklearn.top_k_accuracy_score(targets, logits, k=5, labels=np.arange(classes))
    chance = torch.softmax(torch.tensor(logits).double(), 1).max(1).values.numpy()
    expected["calibration_error"] = expected_calibration_error(chance, predicted == targets)
    for name, value in expected.items():
        assert compute(name, logits, targets) == pytest.approx(value, abs=1e-9), name


def test_balanced_accuracy_is_scikit_learns_where_every_class_has_images() -> None:
    logits, targets = np.eye(3)[[0, 0, 1, 2, 2, 2]], np.array([0, 0, 0, 1, 1, 2])
    expected = sklearn.balanced_accuracy_score(targets, logits.argmax(1))
    assert compute("balanced_accuracy", logits, targets) == pytest.approx(expected)


def test_large_logits_give_finite_losses() -> None:
    assert compute("loss", np.array([[1000.0, 0.0]]), np.array([1])) == 1000.0
    assert compute("calibration_error", np.array([[1000.0, 0.0]]), np.array([1])) == 1.0


def test_which_metrics_there_are_and_which_way_they_point() -> None:
    named = {m.name: (m.higher_is_better, m.fraction, m.least_classes) for m in metrics.every()}
    assert named == {
        "accuracy": (True, True, 2),
        "balanced_accuracy": (True, True, 2),
        "calibration_error": (False, True, 2),
        "loss": (False, False, 2),
        "macro_f1": (True, True, 2),
        "top5_accuracy": (True, True, 6),
        "worst_class_accuracy": (True, True, 2),
    }
    assert metrics.primary_names()[-1] == "validation_accuracy"
    assert metrics.BROKEN == {}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A further folder of the package; what it registers is forgotten afterwards."""
    monkeypatch.setattr(metrics, "__path__", [str(tmp_path)])
    monkeypatch.setattr(registry, "_METRICS", dict(registry._METRICS))
    monkeypatch.setattr(registry, "BROKEN", {})
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("harness.evidence.metrics."):  # torch cannot be imported twice
            del sys.modules[name]


GOOD = "from harness.evidence.metrics import register\n\n\n@register()\ndef {0}(logits, targets):\n    return 0.5\n"


def test_a_file_in_the_folder_is_found_by_itself(folder: Path) -> None:
    (folder / "mine.py").write_text(GOOD.format("halves"))
    registry.import_all()
    assert "test_halves" in metrics.primary_names()
    assert compute("halves", np.eye(2), np.arange(2)) == 0.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0\n", "(ZeroDivisionError: division by zero)"),
        (GOOD.format("halves") + "1 / 0\n", "(ZeroDivisionError: division by zero)"),
        (
            GOOD.format("loss"),
            "(SpecError: metric 'loss' is registered twice: in harness.evidence.metrics.over_images and "
            "harness.evidence.metrics.mine)",
        ),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_where_its_metric_is_asked_for_and_harms_no_other(
    folder: Path, text: str, said: str
) -> None:
    (folder / "mine.py").write_text(text)
    (folder / "yours.py").write_text(GOOD.format("thirds"))
    registry.import_all()
    assert "test_thirds" in metrics.primary_names()
    with pytest.raises(SpecError) as caught:
        metrics.check_primary("test_halves")
    assert str(caught.value).endswith(f"; not imported: harness/evidence/metrics/mine.py {said}")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("macro_f1", "; did you mean 'test_macro_f1'"),
        ("test_acuracy", "; did you mean 'test_accuracy'"),
        ("zzz", ""),
    ],
)
def test_an_unknown_primary_metric_lists_all_and_the_nearest(name: str, near: str) -> None:
    with pytest.raises(SpecError) as caught:
        metrics.of_primary(name)
    listed = "`primary_metric` must be one of test_accuracy, test_balanced_accuracy, test_calibration_error, "
    listed += "test_loss, test_macro_f1, test_top5_accuracy, test_worst_class_accuracy, validation_accuracy; "
    assert str(caught.value).startswith(listed)
    assert f"got {name!r}{near}" in str(caught.value)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (float("nan"), "must give one finite number; it gives nan: mend it"),
        (None, "fails (TypeError: float() argument must be a string or a real number, not 'NoneType'); mend it"),
        (np.ones(3), "must give one finite number; it gives an array of shape (3,): mend it"),
        (85.0, "must give 0..1, as it is a fraction; it gives 85: divide it, or register it with fraction=False"),
    ],
    ids=["nan", "nothing", "array", "percent"],
)
def test_a_metric_that_gives_no_number_says_so(found: object, said: str) -> None:
    """Of made-up logits, before anything trains, and of a run's own."""
    mine = Metric("mine", lambda logits, targets: found, True, True, 2)  # pyright: ignore[reportArgumentType] no number
    line = f"metric 'mine' ({__name__.replace('.', '/')}.py) {said}"
    assert mine.problem(3) == line
    with pytest.raises(SpecError) as caught:
        mine.value(np.eye(2), np.arange(2))
    assert str(caught.value) == line


def test_a_metric_that_fails_is_named_with_its_error() -> None:
    mine = Metric("mine", lambda logits, targets: logits[0, 99], True, True, 2)
    assert "fails (IndexError: index 99 is out of bounds" in str(mine.problem(3))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_every_metric_judges_made_up_logits(classes: int) -> None:
    assert [m.name for m in metrics.every() if m.least_classes <= classes and m.problem(classes)] == []
