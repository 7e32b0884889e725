"""What a run is made of follows from its recipe, its seed and its images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.data.load import Dataset, Split
from harness.plans.spec import Model, Transform
from harness.training.build import build, device_data, model_options, weights_sha256
from harness.values import HarnessError
from tests.harness.runs import Runs


def test_weights_follow_from_spec_and_seed_alone(runs: Runs) -> None:
    """The same seed gives the same hash whatever ran before in the process, another seed another."""
    first = runs.elsewhere("first").finish()
    torch.manual_seed(999)
    np.random.seed(999)
    again = runs.elsewhere("again").finish()
    other = runs.elsewhere("other", spec=runs.spec.model_copy(update={"seed": 1})).finish()
    assert again.weights_sha256 == first.weights_sha256
    assert other.weights_sha256 != first.weights_sha256


def test_fixed_weights_come_from_the_training_images_alone(runs: Runs) -> None:
    """A whitening layer is the same for every seed, and makes the training images' patches white."""
    spec = runs.changed("tuned", model=Model(name="resnet", whitening=True)).spec
    parts = [build(spec.model_copy(update={"seed": seed}), runs.data, workers=0) for seed in (0, 1)]
    first, other = (part.model.get_parameter("prep.0.weight") for part in parts)
    assert torch.equal(first, other)
    images = parts[0].normaliser(runs.data.train.images)
    white = torch.nn.functional.conv2d(images, first).transpose(0, 1).flatten(1)
    torch.testing.assert_close(white.cov(), torch.eye(27), atol=0.1, rtol=0)


def test_hash_sees_one_bit_of_any_tensor() -> None:
    """Buffers count, the last bit counts, a tensor's name counts."""
    model = torch.nn.BatchNorm1d(3)
    whole = weights_sha256(model)
    assert model.running_mean is not None
    model.running_mean[2] = torch.nextafter(model.running_mean[2], torch.tensor(1.0))
    assert weights_sha256(model) != whole
    assert weights_sha256(torch.nn.Sequential(torch.nn.BatchNorm1d(3))) != whole


def test_model_options_follow_the_data(runs: Runs, dataset: Dataset) -> None:
    """Channels, size and classes come from the images, the recipe's options win; oblong images need a size."""
    recipe = runs.spec.recipe
    expected = {"in_channels": 3, "image_size": 12, "classes": 3, "head": "gap", "dropout": 0.1}
    assert model_options(recipe, dataset) == expected
    given = recipe.model_copy(update={"model": Model(name="norm_cnn", classes=7)})
    assert model_options(given, dataset)["classes"] == 7
    oblong = replace(dataset, train=Split(dataset.train.images[:, :10], dataset.train.labels))
    rule = r"^`model` 'norm_cnn' needs square images; 'tiny' has 10x12; set data.image_size$"
    with pytest.raises(HarnessError, match=rule):
        model_options(recipe, oblong)


def test_images_on_the_cpu_are_not_copied(runs: Runs, dataset: Dataset) -> None:
    """The memory-mapped cache itself is what batches are gathered from; it stays read-only."""
    images = dataset.train.images.copy()
    images.flags.writeable = False
    data = device_data(replace(dataset, train=Split(images, dataset.train.labels)), "cpu")
    assert data.train.images.data_ptr() == images.ctypes.data


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_images_that_do_not_fit_are_streamed(runs: Runs, monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> None:
    """With no room on the device they stay in memory, and the weights are those of a run that had them there."""
    crop = (Transform(name="Pad", padding=2), Transform(name="RandomCrop", height=12, width=12))
    weights = []
    for share in (0.5, 0.0):
        monkeypatch.setattr("harness.training.build.STAYS", share)
        data = device_data(dataset, "cuda")
        assert data.train.images.is_cuda == (share > 0)
        there = runs.changed(str(share), device="cuda", augmentation=crop)
        weights.append(Runs(there.root, there.spec, there.design, data).finish().weights_sha256)
    assert weights[0] == weights[1]
