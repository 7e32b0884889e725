"""How images reach a network: the statistics, the memory format and the precision that are named."""

import os

import numpy as np
import pytest
import torch
from torch import nn

from harness.augmentation.normaliser import Normaliser, normalise
from harness.data.load import Dataset

MEAN, STD = (0.49, 0.48, 0.45), (0.2, 0.25, 0.3)


def test_normalise_agrees_with_albumentations() -> None:
    """The library's Normalize of every byte value, within float32's rounding; channels_last, without a copy."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    images = torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 16, 16, 3)
    result = normalise(images, torch.tensor(MEAN), torch.tensor(STD))
    expected = albumentations.Normalize(MEAN, STD)(image=images[0].numpy())["image"]
    np.testing.assert_allclose(result[0].permute(1, 2, 0).numpy(), expected, rtol=0, atol=2e-6)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_memory_format_and_precision_are_as_named(
    dataset: Dataset, memory_format: str, precision: str, dtype: torch.dtype
) -> None:
    """channels_last has its strides, contiguous its own; bf16 computes convolutions in bfloat16, fp32 does not. What
    a grid shows is the network's input, its statistics undone: the pixels over 255."""
    normaliser = Normaliser.make(MEAN, STD, "cpu", memory_format, precision)
    images = normaliser(torch.from_numpy(dataset.test.images))
    kind = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
    assert images.is_contiguous(memory_format=kind)
    assert images.dtype == torch.float32
    with normaliser.autocast:
        assert nn.Conv2d(3, 4, 3)(images).dtype == dtype
    few = np.asarray(dataset.test.images[:5])
    np.testing.assert_allclose(normaliser.as_seen(few), few / 255, atol=1e-6)
