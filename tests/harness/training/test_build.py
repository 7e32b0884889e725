"""What a run is made of follows from its recipe, its seed and its images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import models
from harness.data.load import Dataset, Split
from harness.plans.spec import Model, Recipe, Transform
from harness.training.build import build, complete_model, device_data, evenly, model_options
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


def _with_dark_first_class() -> Dataset:
    """180 images in three classes, class by class as a folder lies; those of the first are nearly black."""
    images, labels = np.random.default_rng(0).integers(0, 256, (180, 12, 12, 3), np.uint8), np.arange(180) // 60
    images[:60] //= 32
    split = Split(images, labels)
    return Dataset("tiny", "tiny", ("night", "day", "noon"), split, None, split, "0123", (0.34,) * 3, (0.33,) * 3)


def test_fixed_weights_come_from_all_classes(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whitening layer is the same for every seed, and makes patches of training images white; those of the first
    class alone, which a folder begins with, would have made the others' variance 50 and more."""
    monkeypatch.setattr("harness.training.build.FITTED", 60)
    made = runs.changed("tuned", model=Model(name="resnet", whitening=True))
    there = device_data(_with_dark_first_class(), "cpu")
    parts = [
        build(made.spec.model_copy(update={"seed": seed}), made.circumstances, there, workers=0) for seed in (0, 1)
    ]
    first, other = (part.model.get_parameter("prep.0.weight") for part in parts)
    assert torch.equal(first, other)

    def variances(weight: torch.Tensor) -> torch.Tensor:
        inputs = parts[0].normaliser(there.train.images)
        return torch.nn.functional.conv2d(inputs, weight).transpose(0, 1).flatten(1).cov()

    torch.testing.assert_close(variances(first), torch.eye(27), atol=0.15, rtol=0)
    models.fit_to(parts[0].model, lambda: parts[0].normaliser(there.train.images[:60]))
    assert variances(parts[0].model.get_parameter("prep.0.weight")).diagonal().mean() > 50


def test_evenly_takes_equal_distances_from_first_to_last() -> None:
    """All where there are not more; exact where float32 is not."""
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly(50_000, 5000).diff().unique().tolist() == [10, 11]
    assert evenly(4, 32).tolist() == [0, 1, 2, 3]
    assert evenly(1, 5).tolist() == [0]
    assert evenly(16_777_220, 3).tolist() == [0, 8_388_610, 16_777_219]


def test_model_options_follow_the_data(runs: Runs, dataset: Dataset) -> None:
    """Channels, size and classes come from the images; oblong images need a size. What a recipe is recorded with is
    every other option."""
    recipe = runs.spec.recipe
    expected = {"in_channels": 3, "image_size": 12, "classes": 3, "head": "gap", "dropout": 0.1}
    assert model_options(recipe, dataset).items() >= expected.items()
    assert model_options(recipe, dataset).keys() == models.options("norm_cnn").keys()
    complete = complete_model(recipe, dataset)
    assert complete.options == {"norm": "batch", "dropout": 0.1, "head": "gap"}
    again = recipe.model_copy(update={"model": complete})
    assert complete_model(again, dataset) == complete
    oblong = replace(dataset, train=Split(dataset.train.images[:, :10], dataset.train.labels))
    rule = r"^`model` 'norm_cnn' needs square images; 'tiny' has 10x12; set data.image_size$"
    with pytest.raises(HarnessError, match=rule):
        model_options(recipe, oblong)


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("classes", 2, r"\(3 for 'tiny'\); got 2$"),
        ("classes", 3, r"\(3 for 'tiny'\); got 3$"),
        ("in_channels", 1, r"\(3 for 'tiny'\); got 1$"),
        ("image_size", 32, r"\(12 for 'tiny'\); got 32; set data.image_size to resize the images$"),
    ],
)
def test_what_follows_from_the_data_is_no_option(
    recipe: Recipe, dataset: Dataset, option: str, value: int, rule: str
) -> None:
    """A network for two classes of three ends in an index error after hours; the right number is refused too, as it
    would part equal runs."""
    given = recipe.model_copy(update={"model": Model(name="norm_cnn", **{option: value})})
    with pytest.raises(HarnessError, match=rf"^`model.{option}` must be left out, .*{rule}"):
        complete_model(given, dataset)


def test_images_on_the_cpu_are_not_copied(dataset: Dataset) -> None:
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
        there.data = data
        weights.append(there.finish().weights_sha256)
    assert weights[0] == weights[1]
