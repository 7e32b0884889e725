"""Estimate the memory of a training batch and the batch size that would fit, for the out-of-memory message."""

import math
from collections.abc import Callable

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.augmentation.normaliser import Normaliser
from harness.data.load import Dataset
from harness.plans.spec import Circumstances, Recipe
from harness.training.build import build_model, build_normaliser

BESIDE = 1.5
"""Memory of a step relative to what autograd saves for it, to allow for gradients and workspace."""


def kept_by_autograd(model: nn.Module, normaliser: Normaliser, images: Tensor, labels: Tensor) -> int:
    """Bytes that autograd saves in the forward pass of a training batch, including the batch but not the weights.

    Args:
        images: shape (B, H, W, C), uint8.
        labels: shape (B,), int64.
    """
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        with normaliser.autocast:
            logits = model(normaliser(images))
        loss = functional.cross_entropy(logits.float(), labels)
    loss.backward()
    return sum(kept.values())


def batch_that_fits(
    recipe: Recipe,
    circumstances: Circumstances,
    dataset: Dataset,
    at_once: int = 1,
    room: Callable[[str], float] | None = None,
) -> int:
    """The largest power of two below the recipe's batch size that should fit; 0 if not even one image does.

    It is measured on the CPU with small batches for any device, since shapes and types are the same.

    Args:
        at_once: number of stacked seeds, each with its own batch.
        room: device → bytes that a step may use; by default the free memory.
    """
    here = circumstances.model_copy(update={"device": "cpu"})
    model, normaliser = build_model(recipe, here, dataset, 0)[1].train(), build_normaliser(recipe, here, dataset)
    images = torch.from_numpy(dataset.train.images[:4].copy())
    labels = torch.tensor(dataset.train.labels[:4])
    few, more = (kept_by_autograd(model, normaliser, images[:count], labels[:count]) for count in (2, 4))
    largest = (room or _free)(circumstances.device) / (at_once * BESIDE * (more - few) / 2)
    fits = min(largest, recipe.batch_size - 1)
    return 2 ** int(math.log2(fits)) if fits >= 1 else 0


def _free(device: str) -> float:
    """Bytes that a step may use: free memory and torch's cached memory, up to the process's limit."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    process = psutil.Process()
    free = psutil.virtual_memory().available
    if not hasattr(process, "rlimit"):  # only on Linux
        return free
    most = process.rlimit(psutil.RLIMIT_AS)[0]
    return free if most == psutil.RLIM_INFINITY else min(free, most - process.memory_info().vms)
