"""Recorded runs made by hand for the tests of reports: real types, invented numbers, no training."""

from pathlib import Path

import numpy as np

from harness.plans.experiment import Design, Published
from harness.plans.hyperparameters import SGD
from harness.plans.spec import Circumstances, Data, Model, Recipe, RunSpec
from harness.records.events import DataFacts, EpochDone, Event, Finished, ModelFacts, Scores, Started
from harness.records.record import Record
from harness.tracking.tracker import PlannedRun, Summary
from reports.select import Selection, arrange

CLASSES = ("cat", "dog", "eel")
CIRCUMSTANCES = Circumstances(device="cpu", threads=1, memory_format="contiguous", step="eager")
IMAGES = 40
ENVIRONMENT = {
    "commit": "c0ffee",
    "dirty": False,
    "code": "abc123",
    "python": "3.11.7",
    "system": "Linux",
    "processor": "a processor",
    "device": "cpu",
    "cuda": None,
    "model_code": "feed",
    "versions": {"torch": "2.14.1", "numpy": "2.4.6"},
}


def recipe(norm: str) -> Recipe:
    """A resolved recipe; variants differ in the norm alone."""
    return Recipe(
        data=Data(name="digits"),
        model=Model(name="norm_cnn", norm=norm),
        optimizer=SGD(lr=0.1),
        epochs=2,
        batch_size=10,
        precision="fp32",
    )


def design(variants: tuple[str, ...] = ("batch", "group"), seeds: tuple[int, ...] = (0, 1, 2)) -> Design:
    """A design over norms."""
    return Design(
        experiment="norms",
        question="Which norm?",
        factor=("model.norm",),
        baseline=variants[0],
        seeds=seeds,
        variants=variants,
        primary_metric="test_accuracy",
        smallest_difference_points=0.5,
        published=(Published(variant="batch", test_accuracy_percent=75.77, source="a seed"),),
    )


def started(
    variant: str,
    seed: int,
    *,
    spec: RunSpec | None = None,
    environment: dict | None = None,
    circumstances: Circumstances | None = None,
) -> Started:
    """The first event of a run."""
    return Started(
        time=1000.0 + seed,
        spec=spec or RunSpec(experiment="norms", variant=variant, seed=seed, recipe=recipe(variant), images="feed"),
        circumstances=circumstances or CIRCUMSTANCES,
        design=design(),
        data=DataFacts(
            name="digits",
            label="digits",
            checksum="feed",
            classes=CLASSES,
            shape=(3, 32, 32),
            mean=(0.5, 0.5, 0.5),
            std=(0.2, 0.2, 0.2),
            train_images=100,
            validation_images=0,
            test_images=IMAGES,
        ),
        model=ModelFacts(parameters=31_216, multiply_adds=6_230_000, receptive_field=56),
        steps_per_epoch=10,
        augmentation="none: no transforms",
        environment=environment or ENVIRONMENT,
    )


def epoch(number: int, accuracy: float, validation: float | None = None) -> EpochDone:
    """One epoch with this test accuracy, and perhaps a validation accuracy."""
    return EpochDone(
        time=1000.0 + 10 * number,
        epoch=number,
        step=10 * number,
        train=Scores(loss=1.0 / number, accuracy=accuracy + 0.01),
        validation=None if validation is None else Scores(loss=1.2 / number, accuracy=validation),
        test=Scores(loss=1.1 / number, accuracy=accuracy),
        lrs=tuple(0.1 for _ in range(10)),
        train_seconds=2.0,
        evaluate_seconds=0.5,
        images_per_second=50.0,
    )


FINISHED = Finished(time=1100.0, train_seconds=4.0, evaluate_seconds=1.0, peak_memory_bytes=10**8, weights_sha256="aa")


def record(
    folder: Path,
    variant: str,
    seed: int,
    first: Started | None = None,
    end: Event = FINISHED,
    validation: tuple[float, float] | tuple[None, None] = (None, None),
) -> Record:
    """One run: its second epoch's accuracy is that of its predictions, which depend on variant and seed alone.

    Args:
        validation: accuracies after either epoch, of a run that holds images out.
    """
    random = np.random.default_rng([seed, *variant.encode()])
    labels = np.arange(IMAGES) % len(CLASSES)
    ahead = np.where(np.arange(IMAGES) < 2, -9.0, 2.0)  # the first two images are beyond every run
    logits = random.normal(size=(IMAGES, len(CLASSES))) + ahead[:, None] * np.eye(len(CLASSES))[labels]
    if end is FINISHED:
        end = FINISHED.model_copy(update={"weights_sha256": f"{variant}-{seed}"})
    path = folder / f"{variant}-{seed}.npz"
    np.savez_compressed(path, logits=logits.astype(np.float32), labels=labels.astype(np.int32))
    accuracy = float((logits.argmax(1) == labels).mean())
    epochs = epoch(1, accuracy / 2, validation[0]), epoch(2, accuracy, validation[1])
    events = (first or started(variant, seed), *epochs, end)
    return Record(f"id-{variant}-{seed}", events[0].spec.key, events, path)


def selection(
    folder: Path, variants: tuple[str, ...] = ("batch", "group"), seeds: tuple[int, ...] = (0, 1, 2)
) -> Selection:
    """Every variant with every seed."""
    records = [record(folder, variant, seed) for variant in variants for seed in seeds]
    return arranged(records, design(variants, seeds))


def arranged(records: list[Record], asked: Design) -> Selection:
    """These records, as answers to a design."""
    planned = tuple(
        PlannedRun(key=started(variant, seed).spec.key, variant=variant, seed=seed)
        for variant in asked.variants
        for seed in asked.seeds
    )
    return arrange(Summary(design=asked, runs=planned), {record.key: record for record in records}, {})
