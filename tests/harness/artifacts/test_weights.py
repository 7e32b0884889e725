"""A network's file: all that is needed to use it travels with it, and none that does not fit is loaded."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import models
from harness.artifacts.weights import load_model, save_weights, weights_sha256
from harness.data.load import Dataset
from harness.values import HarnessError

OPTIONS: dict[str, object] = {"image_size": 12, "classes": 3, "head": "gap", "norm": "group", "dropout": 0.2}


@pytest.mark.parametrize("flip", [False, True])
def test_a_network_comes_back_with_how_to_use_it(dataset: Dataset, tmp_path: Path, flip: bool) -> None:
    """Classes by name, statistics number by number; logits of uint8 images are those of plain code, mirror images
    only where they were asked for. The weights' hash is the same."""
    dataset = replace(dataset, classes=("café", "dog", "鳥"), mean=(0.1, 0.2, 1 / 3), std=(0.3, 0.2, 0.1))
    network = models.build("norm_cnn", **OPTIONS)
    network(torch.randn(4, 3, 12, 12))
    save_weights(tmp_path / "w.safetensors", network, "norm_cnn", OPTIONS, dataset, flip)
    trained = load_model(tmp_path / "w.safetensors")
    assert (trained.classes, trained.mean, trained.std) == (dataset.classes, dataset.mean, dataset.std)
    assert weights_sha256(trained.network) == weights_sha256(network)
    images = dataset.test.images
    pixels = (torch.tensor(images) / 255 - torch.tensor(dataset.mean)) / torch.tensor(dataset.std)
    inputs = pixels.permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = network.eval()(inputs)
        if flip:
            expected = (expected + network(inputs.flip(3))) / 2
    np.testing.assert_allclose(trained.logits(images), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_any_reader_of_the_format_finds_what_it_needs(dataset: Dataset, tmp_path: Path) -> None:
    """The file's own metadata: JSON texts under plain names."""
    save_weights(tmp_path / "w.safetensors", models.build("norm_cnn", **OPTIONS), "norm_cnn", OPTIONS, dataset, False)
    with safe_open(tmp_path / "w.safetensors", framework="np") as file:
        found = file.metadata()
    assert found["model"] == "norm_cnn"
    assert json.loads(found["options"]) == OPTIONS
    assert [json.loads(found[name]) for name in ("mean", "std", "classes", "flip")] == [
        [0.4, 0.4, 0.4],
        [0.2, 0.2, 0.2],
        ["cat", "dog", "owl"],
        False,
    ]


def test_hash_sees_one_bit_of_any_tensor() -> None:
    """Buffers count, the last bit counts, a tensor's name counts."""
    model = torch.nn.BatchNorm1d(3)
    whole = weights_sha256(model)
    assert model.running_mean is not None
    model.running_mean[2] = torch.nextafter(model.running_mean[2], torch.tensor(1.0))
    assert weights_sha256(model) != whole
    assert weights_sha256(torch.nn.Sequential(torch.nn.BatchNorm1d(3))) != whole


def test_weights_that_do_not_fit_are_not_loaded(dataset: Dataset, tmp_path: Path) -> None:
    """The file names its model and options; tensors that do not fit it are refused, none is left at random."""
    other = torch.nn.Conv2d(28, 10, 1, bias=False)
    save_weights(tmp_path / "w.safetensors", other, "norm_cnn", {"norm": "group"}, dataset, False)
    with pytest.raises(HarnessError, match=r"must hold the tensors of the network that it names; .* and \d+ more are"):
        load_model(tmp_path / "w.safetensors")


def test_a_file_that_asks_for_gigabytes_is_refused_before_they_are_taken(dataset: Dataset, tmp_path: Path) -> None:
    """A network of 72 GB by its options, in a file of a few hundred bytes; a header that says it is longer than the
    file; a tensor that ends behind it; another number of parameters than the run recorded."""
    path = tmp_path / "w.safetensors"
    options: dict[str, object] = {"width": 65536}
    save_weights(path, torch.nn.Conv2d(3, 8, 3, bias=False), "resnet", options, dataset, False)
    assert path.stat().st_size < 2000
    with pytest.raises(HarnessError, match="must hold the tensors of the network that it names"):
        load_model(path)
    for content in (
        (1 << 40).to_bytes(8, "little") + b"{}",
        b"",
        _file({"t": {"dtype": "F32", "shape": [1 << 34], "data_offsets": [0, 1 << 36]}}),
        _file({"t": {"dtype": "F32", "shape": [1 << 34], "data_offsets": [0, 4]}}) + bytes(4),
    ):
        path.write_bytes(content)
        with pytest.raises(HarnessError, match="is damaged: "):
            load_model(path)
    save_weights(path, models.build("norm_cnn", **OPTIONS), "norm_cnn", OPTIONS, dataset, False)
    with pytest.raises(HarnessError, match="must hold the 7 parameters that its run recorded"):
        load_model(path, parameters=7)


def _file(header: dict[str, object]) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize("options", ['{"width": "many"}', "[1", '{"unknown": 1}', "3"])
def test_a_network_that_cannot_be_built_is_one_line(tmp_path: Path, options: str) -> None:
    """Options of another version, or none at all."""
    texts = {"model": "resnet", "options": options, "classes": "[]", "mean": "[]", "std": "[]", "flip": "false"}
    save_file({"head.weight": torch.zeros(1)}, tmp_path / "w.safetensors", texts)
    with pytest.raises(HarnessError, match="names no network that can be built: "):
        load_model(tmp_path / "w.safetensors")


@pytest.mark.parametrize("metadata", [{"model": "norm_cnn", "options": "{}"}, None], ids=["older", "none"])
def test_a_file_without_statistics_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    """Guessing them would halve its accuracy in silence: the line names what is missing and what to do."""
    save_file({"head.weight": torch.zeros(1)}, tmp_path / "w.safetensors", metadata)
    with pytest.raises(HarnessError, match=r"w\.safetensors must say .*classes, mean, std, flip .*make that run again"):
        load_model(tmp_path / "w.safetensors")
