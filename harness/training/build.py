"""What a run is made of: images on the device, the network, the form of its step, optimiser and schedule.

Everything follows from the recipe, the seed and the images; seeds and threads are set here.
"""

import hashlib
import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import models
from harness.augmentation.source import Source, to_device
from harness.augmentation.source import source as build_source
from harness.data.load import Dataset, Split
from harness.plans.plan import steps_per_epoch
from harness.plans.spec import Recipe, RunSpec
from harness.training.average import Average
from harness.training.device import keep_freed_memory
from harness.training.evaluate import Normaliser
from harness.training.loop import State
from harness.training.optimizers import build_optimizer, build_scheduler
from harness.values import HarnessError

FITTED = 5000
"""Training images, the first ones, that a model's fixed weights are made from."""
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


def build(spec: RunSpec, data: DeviceData, workers: int) -> Parts:
    """The parts of a run, with every seed and the thread count set.

    Raises:
        HarnessError: an option, a transform or an image shape that cannot be used.
    """
    recipe, dataset = spec.recipe, data.dataset
    options, model = build_model(recipe, dataset, spec.seed)
    normaliser = Normaliser.make(dataset.mean, dataset.std, recipe.device, recipe.memory_format, recipe.precision)
    models.fit_to(model, lambda: normaliser(to_device(data.train.images[:FITTED], normaliser.mean.device)))
    source = build_source(
        recipe.augmentation,
        recipe.augment_backend,
        data.train.images,
        dataset.mean,
        spec.seed,
        workers,
        recipe.device,
    )
    return Parts(options, model, normaliser, source)


def build_model(recipe: Recipe, dataset: Dataset, seed: int) -> tuple[dict[str, Any], nn.Module]:
    """The network on its device, in its memory format, and its options; sets the seed and the thread count."""
    torch.set_num_threads(int(recipe.threads))
    if recipe.device == "cpu":
        keep_freed_memory()
    elif recipe.device.startswith("cuda"):
        torch.backends.cudnn.deterministic = True  # else it may sum a gradient in another order every time
        torch.backends.cudnn.allow_tf32 = False  # else convolutions in "fp32" have 10 bits of mantissa
    torch.manual_seed(seed)
    options = model_options(recipe, dataset)
    model = models.build(recipe.model.name, **options).to(recipe.device)
    memory_format = torch.channels_last if recipe.memory_format == "channels_last" else torch.contiguous_format
    return options, model.to(memory_format=memory_format)  # pyright: ignore[reportCallIssue] torch's stub lacks it


def model_options(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """The model's options: the recipe's, and channels, image size and classes from the data.

    Raises:
        HarnessError: the model needs square images and these are not.
    """
    shape = {"in_channels": dataset.channels, "image_size": dataset.height, "classes": len(dataset.classes)}
    known = models.options(recipe.model.name)
    if "image_size" in known and dataset.height != dataset.width:
        raise HarnessError(
            f"`model` {recipe.model.name!r} needs square images; {dataset.label!r} has {dataset.height}x"
            f"{dataset.width}; set data.image_size"
        )
    return {k: v for k, v in shape.items() if k in known} | recipe.model.options


def new_state(model: nn.Module, recipe: Recipe, lr: float, images: int) -> State:
    """Before the first step of training on so many images at the peak rate `lr`."""
    optimizer = build_optimizer(model, recipe, lr)
    per_epoch = steps_per_epoch(images, recipe.batch_size)
    return State(
        model,
        optimizer,
        build_scheduler(optimizer, recipe.schedule, lr, per_epoch, recipe.epochs),
        averaged=Average(model, recipe.ema_decay) if recipe.ema_decay else None,
        forward=_compiled(model, recipe.device) if recipe.step == "compiled" else model,
        sums=torch.zeros(2, device=recipe.device),
        first_bad=torch.tensor(torch.inf).to(recipe.device),
    )


def _compiled(model: nn.Module, device: str) -> Callable[[Tensor], Tensor]:
    """The network through torch's inductor, on CUDA in a CUDA graph; compiled code is kept, see `harness.__main__`."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it tells CPUs that there is no CUDA
    torch.compiler.reset()  # or the networks of earlier runs count towards dynamo's limit of recompilations
    return torch.compile(model, dynamic=False, mode="reduce-overhead" if device.startswith("cuda") else None)


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 of every parameter and buffer, by name: equal only if the weights are, bit for bit."""
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(name.encode() + str(tensor.dtype).encode() + tensor.cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
