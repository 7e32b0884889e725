"""Networks from outside train like our own: an epoch on digits of 16x16, from the name to the weights' file."""

from pathlib import Path

import numpy as np
import pytest

import models
from harness.artifacts.weights import load_model, save_weights
from harness.data.load import Dataset, load
from harness.execution.changes import environment
from harness.plans.hyperparameters import Adam
from harness.plans.spec import Data, Model
from harness.records import journal
from harness.records.events import EpochDone, Started
from tests.harness.runs import Runs

QUICK = ("torchvision/mobilenet_v3_small", "timm/mobilenetv3_small_050")
ZOO = (
    "torchvision/resnet18",
    "torchvision/densenet121",
    "torchvision/efficientnet_b0",
    "torchvision/mobilenet_v2",
    "torchvision/shufflenet_v2_x0_5",
    "torchvision/squeezenet1_1",
    "torchvision/regnet_y_400mf",
    "torchvision/googlenet",
    "torchvision/convnext_tiny",
    "torchvision/vit_b_16",
    "timm/resnet18",
    "timm/vit_tiny_patch16_224",
    "timm/convnext_atto",
    "timm/efficientnet_lite0",
    "timm/swin_tiny_patch4_window7_224",
)
"""Ten of torchvision's and five of timm's."""
LARGER = ("torchvision/convnext_tiny", "timm/convnext_atto")
"""Of images of 32x32: ConvNeXt divides their size by 32."""
SLOWER = ("torchvision/squeezenet1_1",)
"""Four epochs at 3e-4. It has no normalisation, and a ReLU before its last pooling: at 1e-3 all of its logits are 0
within an epoch and stay so (10% right); at 3e-4 its four epochs had 11, 30, 55 and 78% of training images right."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="module")
def digits(folder: Path) -> Dataset:
    return load(Data(name="digits", image_size=16), folder)


def _train(runs: Runs, name: str, digits: Dataset, batch_size: int = 128) -> list[EpochDone]:
    epochs, rate = (4, 3e-4) if name in SLOWER else (1, 1e-3)
    changes = {"model": Model(name=name), "epochs": epochs, "batch_size": batch_size, "optimizer": Adam(lr=rate)}
    recipe = runs.spec.recipe.model_copy(update=changes | {"data": Data(name="digits", image_size=digits.height)})
    runs.spec = runs.spec.model_copy(update={"recipe": recipe})
    runs.of(digits).finish()
    return [event for event in journal.read(runs.folder) if isinstance(event, EpochDone)]


@pytest.mark.parametrize("name", QUICK)
def test_an_epoch_on_digits(runs: Runs, digits: Dataset, name: str) -> None:
    """And the package's version is in the run's record, beside the digest of what fits it to small images."""
    (done,) = _train(runs, name, digits, batch_size=512)
    assert np.isfinite([done.train.loss, done.test.loss]).all()
    (started,) = [event for event in journal.read(runs.folder) if isinstance(event, Started)]
    package, version, digest = started.environment["model_code"].split(" ")
    assert (package, version[0].isdigit(), len(digest)) == (name.split("/")[0], True, 12)
    assert started.environment == environment(runs.root, started.spec.recipe, started.circumstances)


@pytest.mark.zoo
@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_learns(runs: Runs, folder: Path, name: str) -> None:
    """`make zoo`: over the last epoch, here for most the first one from its beginning on, twice as many training images
    are right as by a guess."""
    digits = load(Data(name="digits", image_size=32 if name in LARGER else 16), folder)
    *_, done = _train(runs, name, digits, batch_size=32)
    print(
        f"{name}: accuracy of training images {done.train.accuracy:.1%}, of test images {done.test.accuracy:.1%}, "
        f"{done.train_seconds:.0f} s"
    )
    assert np.isfinite([done.train.loss, done.test.loss]).all()
    assert done.train.accuracy > 0.2


def test_the_weights_file_gives_the_network_back(digits: Dataset, tmp_path: Path) -> None:
    options: dict[str, object] = {"in_channels": 3, "image_size": 16, "classes": 10}
    network = models.build("torchvision/mobilenet_v3_small", **options)
    save_weights(tmp_path / "w.safetensors", network, "torchvision/mobilenet_v3_small", options, digits, False)
    trained = load_model(tmp_path / "w.safetensors")
    assert trained.logits(digits.test.images[:4]).shape == (4, 10)
