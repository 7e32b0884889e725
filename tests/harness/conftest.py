"""A run small enough to be made dozens of times: 72 images of 12x12 in three classes, five steps an epoch."""

from pathlib import Path

import numpy as np
import pytest

from harness.artifacts import write
from harness.data.load import Dataset, Split
from harness.plans.experiment import Design
from harness.plans.hyperparameters import SGD
from harness.plans.spec import Circumstances, Data, Model, Recipe, RunSpec
from harness.records.events import Event
from harness.tracking.tracker import Tracker
from harness.training.build import DeviceData, device_data
from tests.harness.runs import Runs, begun, made_up


def make_split(images: int, seed: int) -> Split:
    """Noise in which each class is brighter in a channel of its own; a generator's raw output never changes."""
    raw = np.random.PCG64(seed).random_raw(images * 12 * 12 * 3).reshape(images, 12, 12, 3)
    labels = np.arange(images) % 3
    pixels = (raw % 160).astype(np.uint8)
    pixels[np.arange(images), :, :, labels] += 60
    return Split(pixels, labels)


@pytest.fixture
def dataset() -> Dataset:
    train, test = make_split(72, seed=1), make_split(24, seed=2)
    return Dataset("tiny", "tiny", ("cat", "dog", "owl"), train, None, test, "0123", (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))


@pytest.fixture
def data(dataset: Dataset) -> DeviceData:
    return device_data(dataset, "cpu")


@pytest.fixture
def recipe() -> Recipe:
    """Batches of 16, so that the last of an epoch has 8; two epochs; dropout."""
    return Recipe(
        data=Data(name="folder:tiny"),
        model=Model(name="norm_cnn", head="gap", dropout=0.1),
        optimizer=SGD(lr=0.05),
        epochs=2,
        batch_size=16,
        precision="fp32",
    )


@pytest.fixture
def circumstances() -> Circumstances:
    return Circumstances(device="cpu", threads=1, memory_format="channels_last", step="eager")


@pytest.fixture
def spec(recipe: Recipe) -> RunSpec:
    return RunSpec(experiment="tiny_trial", variant="plain", seed=0, recipe=recipe, images="0123")


@pytest.fixture
def design() -> Design:
    return Design(
        experiment="tiny_trial",
        question="Does it learn?",
        factor=("model.norm",),
        baseline="plain",
        seeds=(0,),
        variants=("plain",),
        primary_metric="test_accuracy",
        smallest_difference_points=0.5,
    )


@pytest.fixture
def runs(
    tmp_path: Path,
    spec: RunSpec,
    circumstances: Circumstances,
    design: Design,
    data: DeviceData,
    monkeypatch: pytest.MonkeyPatch,
) -> Runs:
    """Runs without artifacts, which take longer to draw than these networks to train."""
    monkeypatch.setattr(write, "write_artifacts", lambda *_: {})
    return Runs(tmp_path, spec, circumstances, design, data)


@pytest.fixture
def events(spec: RunSpec, circumstances: Circumstances, design: Design) -> list[Event]:
    """What a finished run of `spec` leaves, numbers made up: a range test and two epochs of five steps."""
    return made_up(spec, circumstances, design)


@pytest.fixture(scope="session")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """A real SQLite store, which takes seconds to make; tests record in experiments of their own."""
    root = tmp_path_factory.mktemp("store")
    return Tracker(root, f"sqlite:///{root / 'mlflow.db'}")


@pytest.fixture
def named(events: list[Event], request: pytest.FixtureRequest) -> list[Event]:
    """`events`, in an experiment of the test's own."""
    started = begun(events)
    name = request.node.name.replace("[", "_").rstrip("]")[:64]
    return [started.model_copy(update={"spec": started.spec.model_copy(update={"experiment": name})}), *events[1:]]
