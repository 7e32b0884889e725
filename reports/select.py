"""Select the runs of a report: those of the experiment's latest plan, read from the tracking store by key."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from harness.plans.experiment import Design
from harness.records import journal
from harness.records.events import ENDS
from harness.records.record import Record
from harness.tracking.tracker import Damaged, Recorded, Summary, Tracker
from harness.values import HarnessError
from reports.answers import Answers, answers_of

Rates = tuple[float, ...]


@dataclass(frozen=True)
class Absent:
    """A planned run without a result, and the reason."""

    key: str
    variant: str
    seed: int
    why: str


@dataclass(frozen=True)
class Selection:
    """The latest plan of an experiment and its runs; runs without a result are listed separately."""

    summary: Summary
    records: tuple[Record, ...]
    """Runs with a result, ordered by variant as in the design, then by seed; reports number them R1, R2, …"""
    absent: tuple[Absent, ...]
    further: int = 0
    """Number of finished runs of the experiment that are not part of the plan, such as those with other settings."""

    @property
    def design(self) -> Design:
        return self.summary.design

    @cached_property
    def variants(self) -> dict[str, list[Record]]:
        """Variant → its runs with a result; variants without results are left out."""
        grouped: dict[str, list[Record]] = {}
        for record in self.records:
            grouped.setdefault(record.variant, []).append(record)
        return grouped

    @cached_property
    def answers(self) -> dict[str, Answers]:
        """Variant → its runs' predictions on the test images; every file is read once."""
        return {variant: answers_of(runs) for variant, runs in self.variants.items()}

    @property
    def baseline(self) -> str:
        """The design's baseline, or the first variant with results if the baseline has none."""
        return self.design.baseline if self.design.baseline in self.variants else next(iter(self.variants))

    def numbers(self, *variants: str) -> tuple[int, ...]:
        """The numbers (from 1) of these variants' runs; without arguments, of all runs."""
        return tuple(n for n, r in enumerate(self.records, 1) if not variants or r.variant in variants)


def select(tracker: Tracker, experiment: str) -> Selection:
    """Select the runs of an experiment's latest plan.

    Raises:
        HarnessError: no runs of this experiment are recorded, or they are trials of a tuning.
    """
    summary, recorded = tracker.summary(experiment), tracker.runs(experiment)
    if whose := summary.design.trials_of:
        raise HarnessError(f"{experiment!r} are trials, which the report of {whose!r} shows: make report EXP={whose}")
    states = {key: run.state for key, run in recorded.items()}
    found: dict[str, Record] = {}
    known: dict[Rates, Rates] = {}
    for key in (run.key for run in summary.runs):
        run = recorded.get(key)
        if run is None or run.state not in ENDS:
            continue
        try:
            found[key] = _record(tracker, run, key, known)
        except Damaged as error:
            states[key] = str(error)
    others = recorded.keys() - {run.key for run in summary.runs}
    further = sum(recorded[key].state == "finished" for key in others)
    return replace(arrange(summary, found, states), further=further)


def _record(tracker: Tracker, run: Recorded, key: str, known: dict[Rates, Rates]) -> Record:
    """Read a run from the store.

    Args:
        known: learning rates of epochs read so far, shared between runs with the same schedule to save memory.
    """
    events = [
        event.model_copy(update={"lrs": known.setdefault(event.lrs, event.lrs)}) if event.kind == "epoch" else event
        for event in tracker.journal_of(run.id)
    ]
    record = Record(run.id, key, tuple(events), None)
    if len(record.epochs) != run.epochs:
        raise Damaged(f"not whole in MLflow: {run.epochs} epochs, {len(record.epochs)} in its journal; make sync")
    if not record.finished:
        return record
    return replace(record, predictions=tracker.artifact(run.id, "predictions.npz"))


def arrange(summary: Summary, found: Mapping[str, Record], states: Mapping[str, str]) -> Selection:
    """Sort records into runs with and without a result, in the design's order.

    Args:
        found: run key → record.
        states: run key → state, for runs without a record.
    """
    order = {variant: n for n, variant in enumerate(summary.design.variants)}
    results, absent = [], []
    for run in summary.runs:
        record = found.get(run.key)
        if record is None:
            absent.append(Absent(run.key, run.variant, run.seed, states.get(run.key, "not run")))
        elif (record.variant, record.seed) != (run.variant, run.seed):
            why = f"its journal is that of {record.variant} seed {record.seed}"
            absent.append(Absent(run.key, run.variant, run.seed, why))
        elif record.problem:
            absent.append(Absent(run.key, run.variant, run.seed, record.problem))
        else:
            results.append(record)
    results.sort(key=lambda record: (order[record.variant], record.seed))
    return Selection(summary, tuple(results), tuple(absent))


def from_folder(folder: Path, run_ids: Mapping[str, str], absent: Mapping[str, str]) -> Selection:
    """Read the runs that a published report was built from.

    Args:
        folder: the folder with their plan, journals and predictions.
        run_ids: run key → MLflow run id.
        absent: run key → the reason why a run has no result.
    """
    summary = Summary.model_validate_json((folder / "plan.json").read_text())
    found = {
        key: Record(
            run_ids[key], key, tuple(journal.parse((folder / f"{key}.jsonl").read_bytes())), folder / f"{key}.npz"
        )
        for key in (run.key for run in summary.runs)
        if (folder / f"{key}.jsonl").exists()
    }
    return arrange(summary, found, absent)
