"""Journals that were changed after their run had ended for good and was delivered."""

from pathlib import Path

from harness.records import journal
from harness.records.events import Started
from harness.tracking.listing import Listed
from harness.tracking.receipt import Receipt, sha256
from harness.tracking.state import FINAL
from harness.tracking.store import TrackingError


class Changed(TrackingError):
    """What is recorded of a run here is no longer what was delivered; trying again does not help."""


def refuse_changed(folder: Path, run: Listed, started: Started, receipt: Receipt) -> None:
    """Compare a run's journal with the one that was delivered, by the receipt or, where that is lost, by the store.

    Raises:
        Changed: the run has ended for good, and its journal is another one.
    """
    sent = (receipt.artifacts or {}).get(journal.NAME) if receipt.attempt == started.time else None
    delivered = sent[2] if sent else run.digests.get(journal.NAME)
    if run.state in FINAL and delivered and delivered != sha256(folder / journal.NAME):
        raise changed(folder, run.id)


def changed(folder: Path, run_id: str | None) -> Changed:
    """What is to be said of a run's journal, and what to do."""
    return Changed(
        f"{folder / journal.NAME} was changed after the run had ended and was delivered; MLflow keeps what it has: put "
        f"{journal.NAME} back from the artifacts of run {run_id}, or delete the run with make forget RUN={folder.name} "
        "and make it again"
    )
