"""The same weights three times over: every model, in each of its norms, with and without dropout, on the CPU.

Each repetition is a process and a folder of its own, in which the product's own command makes all variants.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import models
from harness.records import journal
from harness.records.events import Finished
from models.norm_cnn import Norm
from tests.chaos.attempts import Launcher
from tests.chaos.table import Row

Options = dict[str, str | float]
EXPERIMENT = """
from harness import SGD, Circumstances, Data, Experiment, Model, Recipe

EXPERIMENT = Experiment(
    name="repeat",
    question="Are weights the same each time?",
    base=Recipe(
        data=Data(name="digits", image_size=16),
        model=Model(name="mnist_cnn"),
        optimizer=SGD(lr=0.01),
        epochs=1,
        batch_size=256,
    ),
    variants={variants},
    factor=("model",),
    baseline={baseline!r},
    seeds=(0,),
    circumstances=Circumstances(device="cpu"),
)
"""


@dataclass(frozen=True)
class Counts:
    repetitions: int
    models: Sequence[str] | None
    """None: all that are registered."""


FULL = Counts(repetitions=3, models=None)
REDUCED = Counts(repetitions=2, models=("mnist_cnn",))


def rows(counts: Counts, folder: Path) -> Iterator[Row]:
    """A row a variant: how many repetitions were made, and how many of them have the first one's hash."""
    with Launcher() as launch:
        yield from tried(counts, folder, launch)


def tried(counts: Counts, folder: Path, launch: Launcher) -> Iterator[Row]:
    """All of it, in this folder."""
    wanted = variants(counts.models or models.names())
    made = [_repetition(launch, folder / str(number), wanted) for number in range(counts.repetitions)]
    for name in wanted:
        hashes = [hashes.get(name) for hashes in made]
        equal = hashes.count(hashes[0]) if hashes[0] else 0
        yield Row(f"{name}: the same weight hash each time", len(hashes), equal, str(hashes[0])[:12])


def variants(names: Sequence[str]) -> dict[str, Options]:
    """Variant name → its model's fields: each norm that the model knows, with dropout and without."""
    found: dict[str, Options] = {}
    for name in names:
        known = models.options(name)
        for norm in get_args(Norm) if "norm" in known else ("",):
            for dropout in (0.0, 0.1) if "dropout" in known else (0.0,):
                options: Options = {"model.name": name} | ({"model.norm": norm} if norm else {})
                options |= {"model.head": "gap"} if "head" in known else {}  # the other head needs larger images
                options |= {"model.dropout": dropout} if "dropout" in known else {}
                found["_".join([name, *([norm] if norm else []), *(["dropout"] if dropout else [])])] = options
    return found


def _repetition(launch: Launcher, folder: Path, wanted: dict[str, Options]) -> dict[str, str]:
    """Variant → the hash of the weights that it ends with."""
    (folder / "experiments").mkdir(parents=True)
    (folder / "data").mkdir()
    values = EXPERIMENT.format(variants=wanted, baseline=next(iter(wanted)))
    (folder / "experiments" / "repeat.py").write_text(values)
    launch(folder, command=("run", "repeat"), checkpoint_seconds=60.0)
    hashes: dict[str, str] = {}
    for run in folder.glob("runs/repeat/*"):
        for event in journal.read(run):
            if isinstance(event, Finished):
                hashes[run.name.removeprefix("repeat-").partition("-")[0]] = event.weights_sha256
    return hashes
