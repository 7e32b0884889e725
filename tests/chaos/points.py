"""Named points of a run at which something can strike: a name, and how the attempt's own process arms it.

Each wraps a function of the product, or of a library where the product calls it, in the process that is to be struck;
`hit` is called at the chosen call, once.
"""

import itertools
import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine
from torch import nn

import harness.artifacts.figures
import harness.artifacts.write
import harness.execution.attempt
import harness.records.checkpoint
import harness.training.loop
import harness.training.lr_finder
from harness.records.journal import Journal

Hit = Callable[[], None]
Arm = Callable[[Hit], None]


def _any(*_: Any, **__: Any) -> bool:
    return True


def before(owner: Any, name: str, nth: int = 1, when: Callable[..., bool] = _any) -> Arm:
    """Before the `nth` call of `owner.name` for whose arguments `when` is true."""
    return lambda hit: _wrap(owner, name, nth, when, hit, None)


def after(owner: Any, name: str, nth: int = 1, when: Callable[..., bool] = _any) -> Arm:
    """After that call."""
    return lambda hit: _wrap(owner, name, nth, when, None, hit)


def _wrap(owner: Any, name: str, nth: int, when: Callable[..., bool], first: Hit | None, last: Hit | None) -> None:
    original, calls = getattr(owner, name), itertools.count(1)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        now = when(*arguments, **named) and next(calls) == nth
        if now and first:
            first()
        result = original(*arguments, **named)
        if now and last:
            last()
        return result

    setattr(owner, name, wrapped)


def halfway(file_name: str, nth: int) -> Arm:
    """Half of the `nth` write to files whose name begins so is with the system, half is not."""

    def arm(hit: Hit) -> None:
        original, writes = Path.open, itertools.count(1)

        class Halving:
            def __init__(self, file: Any):
                self.file = file

            def __enter__(self) -> "Halving":
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

            def write(self, content: Any) -> int:
                half = len(content) // 2 if next(writes) == nth else 0
                if half:
                    self.file.write(content[:half])
                    self.file.flush()
                    hit()
                return half + self.file.write(content[half:])

        def opened(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
            file = original(path, mode, *rest, **named)
            return Halving(file) if path.name.startswith(file_name) and mode[0] in "wa" else file

        Path.open = opened  # pyright: ignore[reportAttributeAccessIssue]

    return arm


def statement(nth: int) -> Arm:
    """Before the `nth` statement that makes or changes a table of the store."""

    def arm(hit: Hit) -> None:
        seen = itertools.count(1)

        def look(_: Any, __: Any, text: str, *___: Any) -> None:
            if text.lstrip().upper().startswith(("CREATE TABLE", "ALTER TABLE")) and next(seen) == nth:
                hit()

        event.listen(Engine, "before_cursor_execute", look)

    return arm


def commit(nth: int) -> Arm:
    """Before the `nth` commit to the store."""

    def arm(hit: Hit) -> None:
        seen = itertools.count(1)
        event.listen(Engine, "commit", lambda _: hit() if next(seen) == nth else None)

    return arm


def _in_training(*_: Any, **__: Any) -> bool:
    """Not where steps are measured, nor in a range test."""
    return any(frame.f_code is harness.training.loop.train.__code__ for frame, _ in traceback.walk_stack(None))


def _checkpoint(path: Path, *_: Any, **__: Any) -> bool:
    return path.name.startswith("step-")


def _whole_checkpoint(path: Path, *_: Any, **__: Any) -> bool:
    return path.suffix == ".ckpt"


def _open_at(name: str) -> Callable[[int], bool]:
    """Whether a descriptor's file has a name that begins so."""
    return lambda descriptor: Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith(name)


def _of_a_run(*_: Any, **named: Any) -> bool:
    return named.get("tags", {}).get("kind") == "run"


def _of_an_epoch(*_: Any, **named: Any) -> bool:
    return any(metric.key == "test_loss" for metric in named.get("metrics", ()))


def _finished(_: MlflowClient, __: str, status: str | None = None, **___: Any) -> bool:
    return status == "FINISHED"


FRESH_STORE = "the store is half made"
POINTS: dict[str, Arm] = {
    FRESH_STORE: statement(30),
    "while steps are measured": before(harness.training.loop, "take_step", 2),
    "what was measured is half written": halfway("steps.json", 1),
    "nothing is recorded yet": before(harness.execution.attempt, "build"),
    "the first event is half written": halfway("journal", 1),
    "MLflow has the run, we have no receipt": after(MlflowClient, "create_run", when=_of_a_run),
    "in the LR range test": before(harness.training.lr_finder._FiniteLoss, "forward", 15),
    "the range test is over, its event not written": after(harness.execution.attempt, "find_lr"),
    "in the first step": before(nn.utils, "clip_grad_norm_", when=_in_training),
    "in a step, gradients made": before(nn.utils, "clip_grad_norm_", 9, _in_training),
    "a step is done, nobody knows": after(harness.training.loop, "take_step", 8, _in_training),
    "a checkpoint is half written": halfway("step-", 18),
    "a checkpoint is written, not fsynced": before(os, "fsync", 5, _open_at("step-")),
    "a checkpoint is fsynced, not renamed": before(Path, "replace", 6, _checkpoint),
    "a checkpoint is renamed, its folder not fsynced": after(Path, "replace", 7, _checkpoint),
    "before an old checkpoint is deleted": before(Path, "unlink", 3, _whole_checkpoint),
    "an epoch's steps are done, it is not evaluated": before(harness.execution.attempt.Attempt, "evaluate", 2),
    "in an evaluation": after(harness.execution.attempt, "predict", 3),
    "an epoch's event is half written": halfway("journal", 4),
    "an epoch's event is written, not fsynced": before(os, "fsync", 4, _open_at("journal")),
    "an epoch's event is in the journal, not in MLflow": after(Journal, "append", 4),
    "in a transaction of MLflow's": commit(15),
    "MLflow has an epoch, our receipt does not": after(MlflowClient, "log_batch", when=_of_an_epoch),
    "the receipt is half written": halfway("delivered", 2),
    "before the artifacts": before(harness.artifacts.write, "write_artifacts"),
    "in the artifacts": after(harness.artifacts.figures, "save", 3),
    "artifacts are written, the end is not": after(harness.artifacts.write, "write_artifacts"),
    "the last event is half written": halfway("journal", 6),
    "the last event is written, checkpoints are there": before(harness.records.checkpoint, "remove"),
    "in MLflow's copy of the artifacts": after(shutil, "copyfile", 4),
    "MLflow has all, the run is not closed": before(MlflowClient, "set_terminated", when=_finished),
    "the run is closed in MLflow, our receipt does not know": after(MlflowClient, "set_terminated", when=_finished),
}
