"""Build the parts of a run: images on the device, the network, its learner, optimiser and schedule.

All parts are determined by the recipe, the seed, the images and the circumstances. Seeds and threads are set here.
"""

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import models
from harness.augmentation.normaliser import Normaliser, to_device
from harness.augmentation.source import Source
from harness.augmentation.source import source as build_source
from harness.data.load import Dataset, Split
from harness.plans.plan import steps_per_epoch
from harness.plans.spec import Circumstances, Model, Recipe, RunSpec
from harness.training.average import Average
from harness.training.device import keep_freed_memory
from harness.training.loop import Alone, Learner, State
from harness.training.optimizers import build_optimizer, build_scheduler
from harness.training.stacked import Stack
from harness.values import HarnessError

FITTED = 5000
"""Number of training images, evenly spaced over the whole set, from which fixed weights are computed."""
STAYS = 0.5
"""Images are kept on the device if they take at most this share of its free memory."""


@dataclass(frozen=True)
class DeviceSplit:
    """A split: labels, shape (N,), int64, on the device; images, shape (N, H, W, C), uint8, there or memory-mapped."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class DeviceData:
    """A data set prepared for one device, shared by all runs of a plan."""

    dataset: Dataset
    train: DeviceSplit
    validation: DeviceSplit | None
    test: DeviceSplit


def device_data(dataset: Dataset, device: str) -> DeviceData:
    """Move every split's labels to the device, and its images too if they fit.

    On a CPU the memory-mapped cache is used directly. On a GPU, images that take more than `STAYS` of the free memory
    also remain in the cache, and their batches are transferred through pinned memory.
    """
    room = STAYS * torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else math.inf

    def move(split: Split) -> DeviceSplit:
        nonlocal room
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # it is never written to
            images = torch.from_numpy(split.images)
        if images.numel() <= room:
            room -= images.numel()
            images = images.to(device)
        return DeviceSplit(images, torch.tensor(split.labels, device=device))

    train, test = move(dataset.train), move(dataset.test)
    return DeviceData(dataset, train, move(dataset.validation) if dataset.validation else None, test)


@dataclass(frozen=True)
class Parts:
    """A network before its first step, its normaliser and its source of images."""

    options: dict[str, Any]
    """The arguments that the network was built with."""
    model: nn.Module
    normaliser: Normaliser
    source: Source


def build(spec: RunSpec, circumstances: Circumstances, data: DeviceData, workers: int) -> Parts:
    """Build the parts of a run, after setting all seeds and the thread count.

    Raises:
        HarnessError: an option, a transform or an image shape cannot be used.
    """
    recipe, dataset = spec.recipe, data.dataset
    options, model = build_model(recipe, circumstances, dataset, spec.seed)
    normaliser = build_normaliser(recipe, circumstances, dataset)
    models.fit_to(model, lambda: normaliser(_fitted_to(data.train.images, normaliser.mean.device)))
    source = build_source(
        recipe.augmentation,
        circumstances.augment_backend,
        data.train.images,
        dataset.mean,
        spec.seed,
        workers,
        circumstances.device,
    )
    return Parts(options, model, normaliser, source)


def evenly(total: int, count: int) -> Tensor:
    """Indices of `count` evenly spaced items out of `total` (all if there are fewer), shape (count,), int64.

    Folders are sorted by class, so the first items would all be of one class.
    """
    return torch.linspace(0, total - 1, min(count, total), dtype=torch.float64).round().long()


def _fitted_to(images: Tensor, device: torch.device) -> Tensor:
    return to_device(images[evenly(len(images), FITTED).to(images.device)], device)


def build_normaliser(recipe: Recipe, circumstances: Circumstances, dataset: Dataset) -> Normaliser:
    """The normaliser for this data set and recipe."""
    return Normaliser.make(
        dataset.mean, dataset.std, circumstances.device, circumstances.memory_format, recipe.precision
    )


def build_model(
    recipe: Recipe, circumstances: Circumstances, dataset: Dataset, seed: int
) -> tuple[dict[str, Any], nn.Module]:
    """Build the network on its device in its memory format; sets the seed and the thread count. Also returns the
    network's options."""
    torch.set_num_threads(int(circumstances.threads))
    device = circumstances.device
    if device == "cpu":
        keep_freed_memory()
    elif device.startswith("cuda"):
        torch.cuda.set_device(device)  # otherwise pinning memory opens a context on the first GPU
        torch.backends.cudnn.deterministic = True  # otherwise the order of summation in gradients may vary
        torch.backends.cudnn.allow_tf32 = False  # otherwise "fp32" convolutions have 10 bits of mantissa
    torch.manual_seed(seed)
    options = model_options(recipe, dataset)
    model = models.build(recipe.model.name, **options).to(device)
    memory_format = torch.channels_last if circumstances.memory_format == "channels_last" else torch.contiguous_format
    return options, model.to(memory_format=memory_format)  # pyright: ignore[reportCallIssue] torch's stub lacks it


def model_options(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """All options of the model: the recipe's, the defaults, and the data set's channels, image size and classes.

    Raises:
        HarnessError: the recipe sets an option that follows from the data, or the images are not square.
    """
    shape = {"in_channels": dataset.channels, "image_size": dataset.height, "classes": len(dataset.classes)}
    for name in shape.keys() & recipe.model.options.keys():
        instead = "; set data.image_size to resize the images" if name == "image_size" else ""
        raise HarnessError(
            f"`model.{name}` must be left out, for it follows from the images ({shape[name]} for {dataset.label!r}); "
            f"got {recipe.model.options[name]!r}{instead}"
        )
    if dataset.height != dataset.width:
        raise HarnessError(
            f"`model` {recipe.model.name!r} needs square images; {dataset.label!r} has {dataset.height}x"
            f"{dataset.width}; set data.image_size"
        )
    return models.options(recipe.model.name) | recipe.model.options | shape


def complete_model(recipe: Recipe, dataset: Dataset) -> Model:
    """The recipe's model with all options filled in, except those that follow from the data.

    Raises:
        HarnessError: see `model_options`.
    """
    options = model_options(recipe, dataset)
    own = {name: value for name, value in options.items() if name not in ("in_channels", "image_size", "classes")}
    return Model(name=recipe.model.name, **own)


def new_state(model: nn.Module, recipe: Recipe, circumstances: Circumstances, lr: float, images: int) -> State:
    """The state before the first training step.

    Args:
        lr: the peak learning rate.
        images: number of training images.
    """
    optimizer, device = build_optimizer(model, recipe, lr), circumstances.device
    per_epoch = steps_per_epoch(images, recipe.batch_size)
    return State(
        model,
        optimizer,
        build_scheduler(optimizer, recipe.schedule, lr, per_epoch, recipe.epochs),
        averaged=Average(model, recipe.ema_decay) if recipe.ema_decay else None,
        forward=_compiled(model, device) if circumstances.step == "compiled" else model,
        sums=torch.zeros(2, device=device),
        first_bad=torch.tensor(torch.inf).to(device),
    )


def build_learner(
    states: Sequence[State], recipe: Recipe, circumstances: Circumstances, autocast: torch.autocast
) -> Learner:
    """The learner that trains these states, all at the same step: a single one, or several stacked."""
    if circumstances.step == "stacked":
        return Stack(states, recipe, autocast)
    (alone,) = states
    return Alone(alone, recipe, autocast)


def _compiled(model: nn.Module, device: str) -> Callable[[Tensor], Tensor]:
    """The network compiled by torch's inductor, on CUDA in a CUDA graph; its cache is set up in `harness.__main__`."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns about missing CUDA
    torch.compiler.reset()  # otherwise networks of earlier runs count towards dynamo's recompile limit
    return torch.compile(model, dynamic=False, mode="reduce-overhead" if device.startswith("cuda") else None)
