"""What a run is made of: images on the device, the network, its learner, optimiser and schedule.

Everything follows from the recipe, the seed, the images and the circumstances; seeds and threads are set here.
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
"""Training images, taken at equal distances across the whole set, that a model's fixed weights are made from."""
STAYS = 0.5
"""Images stay on the device while they take no more than this share of the memory that is free there."""


@dataclass(frozen=True)
class DeviceSplit:
    """A split: labels (N,) int64 on the device, images (N, H, W, C) uint8 there too, or memory-mapped."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class DeviceData:
    """A data set for one device; made once, used by every run of a plan."""

    dataset: Dataset
    train: DeviceSplit
    validation: DeviceSplit | None
    test: DeviceSplit


def device_data(dataset: Dataset, device: str) -> DeviceData:
    """Every split's labels on the device, and its images too where they fit.

    On a CPU the memory-mapped cache is used as it is. On a GPU, images beyond `STAYS` of the free memory stay in it as
    well, and batches of them travel through pinned memory.
    """
    room = STAYS * torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else math.inf

    def move(split: Split) -> DeviceSplit:
        nonlocal room
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor does anybody write
            images = torch.from_numpy(split.images)
        if images.numel() <= room:
            room -= images.numel()
            images = images.to(device)
        return DeviceSplit(images, torch.tensor(split.labels, device=device))

    train, test = move(dataset.train), move(dataset.test)
    return DeviceData(dataset, train, move(dataset.validation) if dataset.validation else None, test)


@dataclass(frozen=True)
class Parts:
    """A network before its first step, and how images come to it."""

    options: dict[str, Any]
    """What the registry built the network with."""
    model: nn.Module
    normaliser: Normaliser
    source: Source


def build(spec: RunSpec, circumstances: Circumstances, data: DeviceData, workers: int) -> Parts:
    """The parts of a run, with every seed and the thread count set.

    Raises:
        HarnessError: an option, a transform or an image shape that cannot be used.
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
    """Indices of `count` of `total` items, or of all if there are fewer, at equal distances: (count,) int64.

    A folder lies class by class: its first items are of one class.
    """
    return torch.linspace(0, total - 1, min(count, total), dtype=torch.float64).round().long()


def _fitted_to(images: Tensor, device: torch.device) -> Tensor:
    return to_device(images[evenly(len(images), FITTED).to(images.device)], device)


def build_normaliser(recipe: Recipe, circumstances: Circumstances, dataset: Dataset) -> Normaliser:
    """How this data set's images reach a network of this recipe."""
    return Normaliser.make(
        dataset.mean, dataset.std, circumstances.device, circumstances.memory_format, recipe.precision
    )


def build_model(
    recipe: Recipe, circumstances: Circumstances, dataset: Dataset, seed: int
) -> tuple[dict[str, Any], nn.Module]:
    """The network on its device, in its memory format, and its options; sets the seed and the thread count."""
    torch.set_num_threads(int(circumstances.threads))
    device = circumstances.device
    if device == "cpu":
        keep_freed_memory()
    elif device.startswith("cuda"):
        torch.cuda.set_device(device)  # else pinning memory for another GPU opens a context on the first
        torch.backends.cudnn.deterministic = True  # else it may sum a gradient in another order every time
        torch.backends.cudnn.allow_tf32 = False  # else convolutions in "fp32" have 10 bits of mantissa
    torch.manual_seed(seed)
    options = model_options(recipe, dataset)
    model = models.build(recipe.model.name, **options).to(device)
    memory_format = torch.channels_last if circumstances.memory_format == "channels_last" else torch.contiguous_format
    return options, model.to(memory_format=memory_format)  # pyright: ignore[reportCallIssue] torch's stub lacks it


def model_options(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """Every option of the model: the recipe's, the defaults, and the data's channels, image size and classes.

    Raises:
        HarnessError: the recipe sets what follows from the data, or images are not square.
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
    """The recipe's model with every option given that does not follow from the data.

    Raises:
        HarnessError: see `model_options`.
    """
    options = model_options(recipe, dataset)
    own = {name: value for name, value in options.items() if name not in ("in_channels", "image_size", "classes")}
    return Model(name=recipe.model.name, **own)


def new_state(model: nn.Module, recipe: Recipe, circumstances: Circumstances, lr: float, images: int) -> State:
    """Before the first step of training on so many images at the peak rate `lr`."""
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
    """What trains these states, all at the same step: one alone, or all stacked."""
    if circumstances.step == "stacked":
        return Stack(states, recipe, autocast)
    (alone,) = states
    return Alone(alone, recipe, autocast)


def _compiled(model: nn.Module, device: str) -> Callable[[Tensor], Tensor]:
    """The network through torch's inductor, on CUDA in a CUDA graph; compiled code is kept, see `harness.__main__`."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it tells CPUs that there is no CUDA
    torch.compiler.reset()  # or the networks of earlier runs count towards dynamo's limit of recompilations
    return torch.compile(model, dynamic=False, mode="reduce-overhead" if device.startswith("cuda") else None)
