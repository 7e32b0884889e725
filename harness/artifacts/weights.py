"""Save and load a trained network as one safetensors file with everything needed to use it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import models
from harness.augmentation.normaliser import Normaliser
from harness.data.load import Dataset
from harness.training.evaluate import predict
from harness.values import HarnessError, first_line

_HEADER_BYTES = 16 << 20
"""Upper limit for a header; enough for a network of a hundred thousand tensors."""


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, with its normalisation, classes and options."""

    network: nn.Module
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    """Mean per channel, for pixel values in 0..1."""
    std: tuple[float, ...]
    flip: bool
    """True if logits are averaged over an image and its mirror image."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classify images (N, H, W, C), uint8; returns logits (N, classes), computed on the CPU in fp32."""
        normaliser = Normaliser.make(self.mean, self.std, "cpu", "contiguous", "fp32")
        return predict(self.network, torch.from_numpy(images.copy()), normaliser, flip=self.flip).numpy()


def save_weights(
    path: Path, network: nn.Module, name: str, options: dict[str, object], data: Dataset, flip: bool
) -> None:
    """Write a network's parameters and buffers, with everything that `load_model` needs.

    Args:
        name, options: the registered model and the arguments that it was built with.
        data: the data set whose statistics and classes the network was trained with.
        flip: see `Trained`.
    """
    metadata = {
        "model": name,
        "options": json.dumps(options),
        "classes": json.dumps(data.classes),
        "mean": json.dumps(data.mean),
        "std": json.dumps(data.std),
        "flip": json.dumps(flip),
    }
    save_file({name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}, path, metadata)


def load_model(path: Path, parameters: int | None = None) -> Trained:
    """Load a run's `weights.safetensors`; the network is built through the model registry.

    The tensors in the file are first compared with a network on torch's meta device, which needs no memory, because a
    damaged header could ask for a network of any size.

    Args:
        parameters: the number of parameters that the run recorded, if known.

    Raises:
        HarnessError: the file is damaged, lacks metadata (as files written before November 2026 do), or contains other
            tensors than the network that it names.
    """
    found, shapes = _header(path)
    if missing := [name for name in ("model", "options", "classes", "mean", "std", "flip") if name not in found]:
        raise HarnessError(
            f"{path} must say {', '.join(missing)} beside its tensors, as files made before November 2026 do not; "
            "make that run again, or take what is missing from its journal"
        )
    try:
        kept: dict[str, Any] = {name: json.loads(text) if name != "model" else text for name, text in found.items()}
        with torch.device("meta"):
            bare = models.build(kept["model"], **kept["options"])
    except (ValueError, TypeError) as error:  # invalid JSON, or options that the model refuses
        raise HarnessError(f"{path} names no network that can be built: {first_line(error)}") from error
    _require_same(path, {name: tuple(tensor.shape) for name, tensor in bare.state_dict().items()}, shapes)
    counted = sum(parameter.numel() for parameter in bare.parameters())
    if parameters is not None and counted != parameters:
        raise HarnessError(f"{path} must hold the {parameters} parameters that its run recorded; it has {counted}")
    network = models.build(kept["model"], **kept["options"])
    network.load_state_dict(load_file(path))
    return Trained(network.eval(), tuple(kept["classes"]), tuple(kept["mean"]), tuple(kept["std"]), kept["flip"])


def _header(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """A file's metadata and the shapes of its tensors; safetensors checks their sizes against the file's size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _HEADER_BYTES):
        raise HarnessError(f"{path} is damaged: its header says {length} bytes, the file has {size}")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise HarnessError(f"{path} is damaged: {first_line(error)}") from error


def _require_same(path: Path, built: dict[str, tuple[int, ...]], listed: dict[str, tuple[int, ...]]) -> None:
    wrong = [name for name in sorted({*built, *listed}) if built.get(name) != listed.get(name)]
    if wrong:
        named = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise HarnessError(f"{path} must hold the tensors of the network that it names; {named} are missing or not so")


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over all parameters and buffers by name: equal only if the weights are equal bit for bit."""
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(name.encode() + str(tensor.dtype).encode() + tensor.cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
