"""The receptive fields that `summarize` derives, measured on the networks themselves.

With positive weights and norms that have seen nothing (evaluation mode: mean 0, variance 1) every layer, max pools
included, only grows with its input. On a black image all maps are exactly 0; light one column, and an output is above 0
exactly where it sees that column.
"""

from typing import Any

import pytest
import torch
from torch import nn

import models


def seen_columns(name: str, before_head: str, width: int, position: int, columns: list[int]) -> list[int]:
    """Those of the columns of a black image (C, 32 or 28, width) that output column `position` sees once lit."""
    model = models.build(name).eval()
    for parameter_name, parameter in model.named_parameters():
        is_bias = parameter_name.endswith("bias")
        nn.init.constant_(parameter, 0.0 if is_bias else 1.0 if parameter.dim() == 1 else 1 / parameter[0].numel())
    options: dict[str, Any] = models.options(name)
    images = torch.zeros(len(columns), options["in_channels"], options["image_size"], width)
    for image, column in zip(images, columns, strict=True):
        image[:, :, column] = 1e6
    children = list(model.named_children())
    end = [child for child, _ in children].index(before_head) + 1
    with torch.no_grad():
        outputs = nn.Sequential(*(child for _, child in children[:end]))(images)
    lit = outputs[:, :, 0, position].amax(1) > 0
    return [column for column, is_lit in zip(columns, lit, strict=True) if is_lit]


@pytest.mark.parametrize(
    ("name", "before_head", "width", "position", "first", "last"),
    [
        ("resnet", "pool", 96, 1, 4, 91),  # 88 columns, 32 apart, the first output from -28
        ("norm_cnn", "pool", 100, 2, 14, 69),  # 56 columns, 16 apart, the first output from -18
        ("mnist_cnn", "block2", 40, 3, 12, 27),  # 16 columns, 4 apart, the first output from 0
    ],
)
def test_a_column_changes_the_output_exactly_inside_the_receptive_field(
    name: str, before_head: str, width: int, position: int, first: int, last: int
):
    inside = list(range(first, last + 1, 11))
    edges = [first - 1, first, last, last + 1, 0, width - 1]
    columns = sorted({*inside, *edges})
    seen = seen_columns(name, before_head, width, position, columns)
    assert seen == [column for column in columns if first <= column <= last]
    size = models.options(name)["image_size"]
    assert isinstance(size, int)
    summary = models.summarize(models.build(name), (3 if name != "mnist_cnn" else 1, size, size))
    fields = {layer.name.split(".")[0]: layer.receptive_field for layer in summary.layers}
    assert fields[before_head] == last - first + 1
