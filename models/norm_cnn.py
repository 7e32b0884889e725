"""`norm_cnn`: the small network with which seed document 002 compares batch, group and layer normalisation.

31,216 parameters and a receptive field of 56 pixels at the head. Each 3x3 convolution is followed by ReLU, norm and
dropout, in that order; the 1x1 convolutions are followed by none of these. Sources of the norms: batch
(arXiv:1502.03167), layer (arXiv:1607.06450), instance (arXiv:1607.08022), group (arXiv:1803.08494).
"""

from collections import OrderedDict
from typing import Literal

from torch import nn

from models.layers import conv3x3, dropouts
from models.registry import register, require, require_shapes

Norm = Literal["batch", "group", "layer", "layer_chw", "instance", "none"]


@register
def norm_cnn(
    norm: Norm = "batch",
    dropout: float = 0.01,
    head: Literal["avgpool4", "gap"] = "avgpool4",
    in_channels: int = 3,
    image_size: int = 32,
    classes: int = 10,
) -> nn.Module:
    """Images (B, in_channels, image_size, image_size) → logits (B, classes).

    Args:
        norm: "group" has 4 groups. "layer" is that of seed document 002: one group, with statistics over (C, H, W) and
            a weight per channel. "layer_chw" is LayerNorm([C, H, W]) with a weight for every position: 126,296
            parameters at 32 pixels. "none" omits the norm.
        dropout: dropout rate; 0 omits the layers.
        head: "avgpool4" as in the seed document (images of 20 to 35 pixels); "gap" averages the whole map.
        image_size: pixels, at least 8.

    Raises:
        ModelError: a value is out of its range, or the head or the norm does not support the image size.
    """
    require_shapes(in_channels, image_size, classes, smallest_image=8)
    size1, size2, size3 = _map_sizes(image_size)
    _require_fitting_map(norm, head, image_size, size3)
    # The seed document uses AvgPool2d(4), not an average over the whole map. On the 7x7 map of 32-pixel images it fits
    # only once: the top-left 4x4 positions are used, rows and columns 5 to 7 are ignored. Kept for comparability.
    pool = nn.AvgPool2d(4) if head == "avgpool4" else nn.AvgPool2d(size3)
    return nn.Sequential(
        OrderedDict(
            block1=nn.Sequential(
                _unit(in_channels, 16, norm, dropout, image_size - 2, padding=0),
                _unit(16, 20, norm, dropout, size1, padding=0),
                _conv1x1(20, 16),
                nn.MaxPool2d(2),
            ),
            block2=nn.Sequential(*_three_units(norm, dropout, size2), _conv1x1(28, 16), nn.MaxPool2d(2)),
            block3=nn.Sequential(*_three_units(norm, dropout, size3)),
            pool=pool,
            head=_conv1x1(28, classes),
            flatten=nn.Flatten(),
        )
    )


def _map_sizes(image_size: int) -> tuple[int, int, int]:
    """Side length of the maps at the end of block 1 (before its pool), block 2 (before its pool) and block 3."""
    size1 = image_size - 4
    return size1, size1 // 2, size1 // 4


def _require_fitting_map(norm: Norm, head: str, image_size: int, last_map: int) -> None:
    one_position = norm == "instance" and last_map < 2
    require(not one_position, "image_size", "be 12 or more with norm=instance, a statistic over positions", image_size)
    rule = "be 20 to 35 with head=avgpool4 (it needs a last map of 4 to 7 pixels; use head=gap)"
    require(head == "gap" or 4 <= last_map <= 7, "image_size", rule, image_size)


def _three_units(norm: Norm, dropout: float, size: int) -> list[nn.Module]:
    """(B, 16, size, size) → (B, 28, size, size)."""
    return [_unit(a, b, norm, dropout, size) for a, b in ((16, 20), (20, 24), (24, 28))]


def _unit(
    in_channels: int, out_channels: int, norm: Norm, dropout: float, size: int, padding: int = 1
) -> nn.Sequential:
    """→ (B, out_channels, size, size)."""
    conv = conv3x3(in_channels, out_channels, padding)
    return nn.Sequential(conv, nn.ReLU(inplace=True), *_norms(norm, out_channels, size), *dropouts(dropout))


def _norms(norm: Norm, channels: int, size: int) -> list[nn.Module]:
    match norm:
        case "batch":
            return [nn.BatchNorm2d(channels)]
        case "group":
            return [nn.GroupNorm(4, channels)]
        case "layer":
            return [nn.GroupNorm(1, channels)]
        case "layer_chw":
            return [nn.LayerNorm([channels, size, size])]
        case "instance":
            return [nn.InstanceNorm2d(channels, affine=True)]
        case "none":
            return []


def _conv1x1(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1, bias=False)
