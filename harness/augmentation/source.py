"""Training images augmented by an experiment's pipeline, as reproducible batches selected by index.

A pipeline is a list of albumentations 2.0.8 transforms on uint8 images, followed by normalisation. It runs as tensor
code for whole batches (`batched`) if that is exact, otherwise in the library itself (`library`). All randomness of a
sample is determined by (seed, epoch, index), so results do not depend on the number of workers, the batch size or the
point of resumption.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from harness.augmentation.batched import NoBatchedForm, Pipeline, epoch_key, keys_in, pipeline
from harness.augmentation.library import AugmentError, LibrarySource, build, one_line, resolve
from harness.augmentation.normaliser import to_device
from harness.plans.spec import Transform

__all__ = ["AugmentError", "Source", "check", "source", "together"]

_CHUNK_BYTES = 32 << 20

Shape = tuple[int, ...]


class Source(Protocol):
    """Provides augmented training images."""

    backend: str
    """One of "none", "batched" and "albumentations"."""
    reason: str
    """The reason for this backend, such as "Rotate has no batched form"."""

    def batches(self, epoch: int, index_batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """For each batch of indices, shape (B,), int64, on the CPU: images (B, H, W, C), uint8, on the device."""
        ...


def source(
    transforms: tuple[Transform, ...],
    requested: Literal["auto", "batched", "albumentations"],
    images: Tensor,
    mean: tuple[float, ...],
    seed: int,
    workers: int = 0,
    device: torch.device | str = "cpu",
) -> Source:
    """The source of augmented training images of one run.

    Args:
        images: shape (N, H, W, C), uint8, on the training device or, if they do not fit, memory-mapped.
        mean: mean per channel (0..1), which replaces "dataset_mean" in arguments.
        workers: number of processes of the albumentations backend; 0 uses this process.
        device: the device of the batches.

    Raises:
        AugmentError: an unknown transform or argument, or "batched" is requested for a pipeline without a batched form.
    """
    device = torch.device(device)
    if not transforms:
        return _OnDevice(images, seed, device, None)
    _, height, width, channels = images.shape
    resolved = resolve(transforms, height, width, mean)
    if requested == "albumentations":
        return LibrarySource(resolved, "as requested", images, seed, workers, device)
    try:
        exact = pipeline(build(resolved), (height, width, channels), device)
    except NoBatchedForm as error:
        if requested == "batched":
            raise AugmentError(f"`augment_backend` cannot be 'batched': {error}; use 'auto'") from error
        return LibrarySource(resolved, str(error), images, seed, workers, device)
    return _OnDevice(images, seed, device, exact)


def check(transforms: tuple[Transform, ...], height: int, width: int, channels: int) -> None:
    """Try a pipeline on a dummy image of this size, with every transform applied and, if p < 1, also skipped.

    Raises:
        AugmentError: an unknown transform or argument, a refused value, a transform that fails or does not return
            uint8, or a pipeline that changes the image's size.
    """
    if not transforms:
        return  # without importing the library
    shape = (height, width, channels)
    shapes: set[Shape] = {shape}
    for transform in build(resolve(transforms, height, width, (0.5,) * channels)):
        applied = {_shape_after(transform, before) for before in shapes} if transform.p > 0 else set()
        shapes = applied | (shapes if transform.p < 1 else set())
    if wrong := sorted(shapes - {shape}):
        raise AugmentError(
            f"`augmentation` must keep images at {_text(shape)}; got {' or '.join(map(_text, wrong))}; "
            "end it with a Resize or RandomCrop to height='image_height', width='image_width'"
        )


def _shape_after(transform: Any, shape: Shape) -> Shape:
    name = type(transform).__name__
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    try:
        result = transform(image=image, force_apply=True)["image"]
    except Exception as error:
        raise AugmentError(f"`{name}` cannot run on an image of {_text(shape)}: {one_line(error)}") from error
    if result.dtype != np.uint8:
        raise AugmentError(
            f"`{name}` must return uint8; got {result.dtype}; the harness normalises last, with data.mean and data.std"
        )
    return result.shape


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _gather(images: Tensor, index: Tensor, device: torch.device) -> Tensor:
    """Gather images (N, H, W, C) by index (B,), which is on the CPU → (B, H, W, C) on the device."""
    chosen = images.index_select(0, to_device(index, images.device))  # images[index] takes 5 times as long
    return to_device(chosen, device)


def together(sources: Sequence[Source], epoch: int, index_batches: Sequence[Sequence[Tensor]]) -> Iterator[Tensor]:
    """The batches of M stacked runs of one recipe, shape (M, B, H, W, C), uint8.

    Args:
        index_batches: for each run, its batches of indices, shape (B,), int64, on the CPU.
    """
    own = [source for source in sources if isinstance(source, _OnDevice)]
    if len(sources) == 1 or len(own) < len(sources):
        each = (source.batches(epoch, batches) for source, batches in zip(sources, index_batches, strict=True))
        for images in map(list, zip(*each, strict=True)):
            yield torch.stack(images) if len(images) > 1 else images[0][None]
        return
    keys = epoch_key(torch.tensor([source.seed for source in own])[:, None], epoch)
    keys = to_device(keys, own[0].device)  # once per epoch, as a copy to the device in every step is slow
    for indices in zip(*index_batches, strict=True):
        yield own[0].make(keys, torch.stack(indices))


class _OnDevice:
    """Images gathered where they are stored, and augmented as whole batches on the device."""

    def __init__(self, images: Tensor, seed: int, device: torch.device, pipeline: Pipeline | None):
        self._images, self.seed, self.device, self._pipeline = images, seed, device, pipeline
        self.backend, self.reason = "none", "no transforms"
        if pipeline:
            self.backend, self.reason = "batched", "every transform has an exact batched form"

    def batches(self, epoch: int, index_batches: Sequence[Tensor]) -> Iterator[Tensor]:
        key = int(epoch_key(self.seed, epoch))
        for group in self._groups(index_batches):
            images = self.make(key, torch.cat(group))
            yield from images.split([len(part) for part in group])

    def make(self, epoch_key: int | Tensor, index: Tensor) -> Tensor:
        """One batch: index (B,), on the CPU → (B, H, W, C); for M runs: keys (M, 1), index (M, B) → (M, B, H, W, C)."""
        images = _gather(self._images, index.flatten(), self.device)
        if self._pipeline:
            images = self._pipeline(images, keys_in(epoch_key, to_device(index, self.device)).flatten())
        return images.unflatten(0, index.shape)

    def _groups(self, index_batches: Sequence[Tensor]) -> Iterator[list[Tensor]]:
        """Group batches: single ones on the CPU, several together on a GPU, where launching kernels dominates."""
        room = 0 if self.device.type == "cpu" else _CHUNK_BYTES // self._images[0].numel()
        group: list[Tensor] = []
        for index in index_batches:
            if group and sum(map(len, group)) + len(index) > room:
                yield group
                group = []
            group.append(index)
        if group:
            yield group
