"""Real commands in processes of their own, on runs that take a second: forked, so that torch is imported but once.

A child is `python -m harness …` in all but its imports: the same `main`, the same signals, its own exit status. Figures
are left out: they take longer to draw than these networks to train.
"""

import hashlib
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "harness.__main__",
        "harness.commands.run",
        "harness.execution.check",
        "harness.execution.execute",
        "harness.execution.settle",
        "albumentations",
        "mlflow.store.tracking.sqlalchemy_store",
        "sklearn.datasets",
        "sqlalchemy.dialects.sqlite",
        "torch._dynamo",  # the first optimizer imports it, which takes longer than a run
    ]
)
_EXPERIMENT = """
from harness import SGD, Circumstances, Data, Experiment, Model, Recipe

EXPERIMENT = Experiment(
    name={name!r},
    question="Is everything recorded, once?",
    base=Recipe(
        data=Data(name="digits", image_size={image_size}),
        model=Model(name="norm_cnn", head="gap"),
        optimizer=SGD(lr=0.02),
        epochs={epochs},
        batch_size={batch_size},
        precision="fp32",
    ),
    variants={{f"v{{n}}": {{"optimizer.momentum": n / 1000}} for n in range({variants})}},
    factor=("optimizer.momentum",),
    baseline="v0",
    seeds=(0,),
    circumstances=Circumstances(device="cpu", threads=1),
)
"""


def write_experiment(
    root: Path, name: str, variants: int = 1, epochs: int = 2, image_size: int = 12, batch_size: int = 512
) -> None:
    """An experiment of variants v0, v1, …, one run each: three optimiser steps an epoch of `batch_size` 512."""
    (root / "experiments").mkdir(parents=True, exist_ok=True)
    sizes = {"image_size": image_size, "batch_size": batch_size}
    text = _EXPERIMENT.format(name=name, variants=variants, epochs=epochs, **sizes)
    (root / "experiments" / f"{name}.py").write_text(text)


def start(
    root: Path, uri: str, *arguments: str, gate: Path | None = None, request_seconds: int | None = None
) -> ForkServerProcess:
    """`harness` with these arguments, in a project at `root`, recording at `uri`; what it says goes to root/said.

    Args:
        gate: a folder; it says there that it is ready, and begins when `open_gate` opens it.
        request_seconds: MLFLOW_HTTP_REQUEST_TIMEOUT, as a user would set it.
    """
    variables = {"MLFLOW_TRACKING_URI": uri}
    if request_seconds is not None:
        variables["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(request_seconds)
    process = _CONTEXT.Process(target=_main, args=(root, variables, arguments, gate), daemon=True)
    process.start()
    return process


def open_gate(gate: Path, parties: int) -> None:
    """Let processes begin at once, when so many are ready."""
    while len(list(gate.iterdir())) < parties:
        time.sleep(0.01)
    (gate / "open").touch()


def run(root: Path, uri: str, *arguments: str, request_seconds: int | None = None) -> int:
    """The exit status of that command."""
    return status(start(root, uri, *arguments, request_seconds=request_seconds))


def status(process: ForkServerProcess) -> int:
    """Its exit status, once it has ended; a process that does not end within minutes is killed."""
    process.join(300)
    if process.exitcode is None:
        process.kill()
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def said(root: Path) -> str:
    """What the commands in a project said, so far."""
    return (root / "said").read_text()


def _main(root: Path, variables: dict[str, str], arguments: Sequence[str], gate: Path | None) -> None:
    from harness import __main__ as command_line
    from harness.artifacts import write
    from harness.execution import run

    root.mkdir(parents=True, exist_ok=True)
    with (root / "said").open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(variables)
    command_line.ROOT = root
    write.write_artifacts = write_little
    run.CHECKPOINT_SECONDS = 0.1
    if gate is not None:
        (gate / str(os.getpid())).touch()
        while not (gate / "open").exists():
            time.sleep(0.001)
    sys.exit(command_line.main(arguments))


def write_little(folder: Path, *_: object) -> dict[str, tuple[int, str]]:
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    content = b"something"
    for name in ("spec.json", "figures/curves.png"):
        (folder / name).write_bytes(content)
    return dict.fromkeys(("spec.json", "figures/curves.png"), (len(content), hashlib.sha256(content).hexdigest()))
