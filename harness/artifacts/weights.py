"""A trained network as one safetensors file that holds everything needed to use it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import models
from harness.augmentation.normaliser import Normaliser
from harness.data.load import Dataset
from harness.training.evaluate import predict
from harness.values import HarnessError


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, and how images are brought to it."""

    network: nn.Module
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, for pixels in 0..1."""
    std: tuple[float, ...]
    flip: bool
    """Logits are the mean of an image's and its mirror image's."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images (N, H, W, C) of 0..255 → logits (N, classes), on the CPU in fp32."""
        normaliser = Normaliser.make(self.mean, self.std, "cpu", "contiguous", "fp32")
        return predict(self.network, torch.from_numpy(images.copy()), normaliser, flip=self.flip).numpy()


def save_weights(
    path: Path, network: nn.Module, name: str, options: dict[str, object], data: Dataset, flip: bool
) -> None:
    """Write a network's parameters and buffers with all that `load_model` needs.

    Args:
        name, options: the registered model and what it was built with.
        data: whose statistics and classes the network was trained with.
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


def load_model(path: Path) -> Trained:
    """The network in a run's `weights.safetensors`, built through the registry.

    Raises:
        HarnessError: a file without all that is needed, as those written before November 2026 are.
    """
    with safe_open(path, framework="pt") as file:
        found = file.metadata() or {}
    if missing := [name for name in ("model", "options", "classes", "mean", "std", "flip") if name not in found]:
        raise HarnessError(
            f"{path} must say {', '.join(missing)} beside its tensors, as files made before November 2026 do not; "
            "make that run again, or take what is missing from its journal"
        )
    kept = {name: json.loads(text) if name != "model" else text for name, text in found.items()}
    network = models.build(kept["model"], **kept["options"])
    network.load_state_dict(load_file(path))
    return Trained(network.eval(), tuple(kept["classes"]), tuple(kept["mean"]), tuple(kept["std"]), kept["flip"])


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 of every parameter and buffer, by name: equal only if the weights are, bit for bit."""
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(name.encode() + str(tensor.dtype).encode() + tensor.cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
