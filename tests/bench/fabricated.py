"""Runs that nobody trained, in the files that training would leave: for measuring what many of them cost."""

import hashlib
import io
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.environment.files import write_whole
from harness.execution.changes import environment
from harness.execution.run import run_folder
from harness.plans.plan import Plan
from harness.plans.spec import RunSpec
from harness.records.events import DataFacts, EpochDone, Event, Finished, ModelFacts, Scores, Started
from harness.records.journal import NAME as JOURNAL
from harness.records.journal import Journal

NAME, EPOCHS, STEPS, CLASSES, TEST = "growth", 24, 98, 10, 10_000
ABOUT = f"Runs of {EPOCHS} epochs of {STEPS} steps and {TEST:,} test images of {CLASSES} classes, in 5 variants."
_ACCURACIES = {"a": 0.75, "b": 0.76, "c": 0.755, "d": 0.74, "e": 0.75}
_EXPERIMENT = f"""
from harness import SGD, Circumstances, Data, Experiment, Model, Recipe

EXPERIMENT = Experiment(
    name="{NAME}",
    question="What do many runs cost?",
    base=Recipe(
        data=Data(name="folder:images", title="images"),
        model=Model(name="norm_cnn", head="gap"),
        optimizer=SGD(lr=0.1),
        epochs={EPOCHS},
        batch_size=10,
        precision="fp32",
    ),
    variants={{{", ".join(f'"{name}": {{"optimizer.lr": 0.{n + 1}}}' for n, name in enumerate(_ACCURACIES))}}},
    factor=("optimizer.lr",),
    baseline="a",
    seeds=(0, 1),
    circumstances=Circumstances(device="cpu", threads=1, memory_format="contiguous", step="eager"),
)
"""


def prepare(project: Path) -> None:
    """Put the experiment and its images into a copy of the project."""
    (project / "experiments" / f"{NAME}.py").write_text(_EXPERIMENT)
    random = np.random.default_rng(0)
    for split, images in (("train", STEPS * 10), ("test", TEST)):
        for label in range(CLASSES):
            folder = project / "images" / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(images // CLASSES):
                pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.bmp")


def write(plan: Plan, root: Path) -> int:
    """Leave in runs/ what the plan's runs would; returns how many were not there yet."""
    missing = [spec for spec in plan.runs if not (run_folder(root, spec) / JOURNAL).exists()]
    for spec in missing:
        _write(spec, plan, root)
    return len(missing)


def _write(spec: RunSpec, plan: Plan, root: Path) -> None:
    folder = run_folder(root, spec)
    (folder / "artifacts").mkdir(parents=True)
    logits, labels = _predictions(spec.variant, spec.seed), _labels()
    content = io.BytesIO()
    np.savez_compressed(content, logits=logits, labels=labels)
    write_whole(folder / "artifacts" / "predictions.npz", content.getvalue())
    accuracy = float((logits.argmax(1) == labels).mean())
    kept = len(content.getvalue()), hashlib.sha256(content.getvalue()).hexdigest()
    Journal(folder).rewrite(_events(spec, plan, root, accuracy, kept))


@cache
def _labels() -> NDArray[np.int32]:
    return np.repeat(np.arange(CLASSES, dtype=np.int32), TEST // CLASSES)


@cache
def _difficulty() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(2.4, 1.5, TEST).astype(np.float32)


def _predictions(variant: str, seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng([seed, *variant.encode()])
    logits = random.normal(size=(TEST, CLASSES)).astype(np.float32)
    logits[np.arange(TEST), _labels()] += _difficulty() + 4 * np.float32(_ACCURACIES[variant] - 0.75)
    return logits


def _events(spec: RunSpec, plan: Plan, root: Path, accuracy: float, kept: tuple[int, str]) -> list[Event]:
    data = DataFacts(
        name=spec.recipe.data.name,
        label="images",
        checksum=spec.images,
        classes=tuple(f"class{label}" for label in range(CLASSES)),
        shape=(3, 16, 16),
        mean=(0.5, 0.5, 0.5),
        std=(0.3, 0.3, 0.3),
        train_images=STEPS * 10,
        validation_images=0,
        test_images=TEST,
    )
    began = Started(
        time=1e9 + spec.seed,
        spec=spec,
        circumstances=plan.circumstances,
        design=plan.design,
        data=data,
        model=ModelFacts(parameters=31_216, multiply_adds=6_230_000, receptive_field=56),
        steps_per_epoch=STEPS,
        augmentation="none: no transforms",
        environment=environment(root, spec.recipe, plan.circumstances),
    )
    end = Finished(
        time=began.time + 25 * EPOCHS,
        train_seconds=20.0 * EPOCHS,
        evaluate_seconds=2.0 * EPOCHS,
        peak_memory_bytes=10**9,
        weights_sha256=hashlib.sha256(spec.key.encode()).hexdigest(),
        artifacts={"predictions.npz": kept},
    )
    return [began, *(_epoch(began.time, number, accuracy) for number in range(1, EPOCHS + 1)), end]


def _epoch(began: float, number: int, accuracy: float) -> EpochDone:
    done = accuracy * (1 - 0.5 / number if number < EPOCHS else 1)
    return EpochDone(
        time=began + 25 * number,
        epoch=number,
        step=STEPS * number,
        train=Scores(loss=1.0 / number, accuracy=done),
        validation=None,
        test=Scores(loss=1.1 / number, accuracy=done),
        lrs=tuple(0.1 * (1 - step / (STEPS * EPOCHS)) for step in range(STEPS * (number - 1), STEPS * number)),
        train_seconds=20.0 + 0.01 * number,
        evaluate_seconds=2.0,
        images_per_second=50.0,
        system={"system/cpu_utilization_percentage": 99.0, "system/system_memory_usage_megabytes": 1000.0},
    )
