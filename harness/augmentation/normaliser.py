"""Convert uint8 images to a network's input: device, normalisation, memory format and precision."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Compute (images / 255 - mean) / std: (B, H, W, C), uint8 → (B, C, H, W), float32, with channels_last strides.

    Args:
        mean, std: shape (C,), float32, for pixel values in 0..1, on the device of the images.
    """
    width = images.shape[2]
    scale, bias = (255 * std).reciprocal().repeat(width), (-mean / std).repeat(width)
    lines = images.flatten(2).to(torch.float32)  # normalising single channels takes 4 times as long on a CPU
    return torch.addcmul(bias, lines, scale, out=lines).view(images.shape).permute(0, 3, 1, 2)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device without synchronising; a copy from memory that is not pinned may wait for earlier kernels."""
    if device.type == "cuda" and not tensor.is_cuda:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True)
class Normaliser:
    """Normalises images for a network; holds the statistics on the device, the memory format and the autocast type."""

    mean: Tensor
    std: Tensor
    memory_format: torch.memory_format
    autocast: torch.autocast

    @classmethod
    def make(
        cls, mean: tuple[float, ...], std: tuple[float, ...], device: str, memory_format: str, precision: str
    ) -> "Normaliser":
        """Create a normaliser from the values of recipes and circumstances.

        Args:
            mean, std: one number per channel, for pixel values in 0..1.
            memory_format: "channels_last" or "contiguous".
            precision: "bf16" or "fp32".
        """
        return cls(
            mean=torch.tensor(mean, device=device),
            std=torch.tensor(std, device=device),
            memory_format=torch.channels_last if memory_format == "channels_last" else torch.contiguous_format,
            autocast=torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bf16"),
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise images: (B, H, W, C), uint8 → (B, C, H, W), float32."""
        return normalise(images, self.mean, self.std).contiguous(memory_format=self.memory_format)

    def as_seen(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images (N, H, W, C) as the network sees them, with the normalisation undone: (N, H, W, C), values 0..1."""
        inputs = self(torch.tensor(images, device=self.mean.device)).permute(0, 2, 3, 1)
        return (inputs * self.std + self.mean).clamp(0, 1).cpu().numpy()
