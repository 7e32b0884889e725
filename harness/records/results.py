"""The result of a finished run by any primary metric."""

from harness.evidence import metrics
from harness.records.record import Record
from harness.values import HarnessError


def result(record: Record, name: str) -> float:
    """A primary metric after a run's last epoch, as a fraction or in the metric's own unit.

    Accuracy and loss are read from the journal; other metrics are computed from the run's test logits.

    Raises:
        HarnessError: there is no such metric, it gives no number, or it needs held-out images, which the run lacks.
    """
    metric, last = metrics.of_primary(name), record.epochs[-1]
    scores = last.validation if name == metrics.VALIDATION else last.test
    if scores is None:
        raise HarnessError(
            f"`primary_metric` is {name!r}, but run {record.key} held no images out; set data.validation_fraction "
            "above 0 and run again"
        )
    if metric.name in ("accuracy", "loss"):
        return scores.accuracy if metric.name == "accuracy" else scores.loss
    return metric.value(record.logits, record.labels)


def scale(name: str) -> float:
    """The factor by which results are multiplied for display: 100 for a fraction, otherwise 1."""
    return 100.0 if metrics.of_primary(name).fraction else 1.0
