"""Detects journals that were changed after their run had finished or diverged and was delivered."""

from pathlib import Path

from harness.records import journal
from harness.records.events import Started
from harness.tracking.listing import Listed
from harness.tracking.receipt import Receipt, sha256
from harness.tracking.state import FINAL
from harness.tracking.store import TrackingError


class Changed(TrackingError):
    """The journal in `runs/` is not the one that was delivered. Another attempt to deliver it cannot help."""


def refuse_changed(folder: Path, run: Listed, started: Started, receipt: Receipt) -> None:
    """Compare a run's journal with the SHA-256 of the delivered one, from the receipt or, if that is lost, the store.

    Args:
        folder: the run's, in `runs/`.
        run: the run as the store lists it.

    Raises:
        Changed: the run has finished or diverged, and its journal differs.
    """
    sent = (receipt.artifacts or {}).get(journal.NAME) if receipt.attempt == started.time else None
    delivered = sent[2] if sent else run.digests.get(journal.NAME)
    if run.state in FINAL and delivered and delivered != sha256(folder / journal.NAME):
        raise changed(folder, run.id)


def changed(folder: Path, run_id: str | None) -> Changed:
    """The error for a changed journal, with the two ways to resolve it."""
    return Changed(
        f"{folder / journal.NAME} was changed after the run had ended and was delivered; MLflow keeps what it has: put "
        f"{journal.NAME} back from the artifacts of run {run_id}, or delete the run with make forget RUN={folder.name} "
        "and make it again"
    )
