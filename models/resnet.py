"""`resnet`: the custom residual network of seed documents 000, 001, 003 and 004 (after Page's ResNet-9, DAWNBench).

At its defaults: 6,573,120 parameters, 379.26 M multiply-adds per image, receptive field 88 pixels at the head. The
specification ends with a softmax; here the network returns logits, and the loss includes the softmax.
"""

from collections import OrderedDict

from torch import nn

from models.layers import Residual, Scale, Whitening, conv3x3, dropouts
from models.registry import register, require, require_shapes


@register
def resnet(
    width: int = 64,
    dropout: float = 0.0,
    head_bias: bool = False,
    whitening: bool = False,
    head_scale: float = 1.0,
    in_channels: int = 3,
    image_size: int = 32,
    classes: int = 10,
) -> nn.Module:
    """Images (B, in_channels, image_size, image_size) → logits (B, classes).

    Args:
        width: channels after the first block; the following blocks have 2, 4 and 8 times as many. The cost of a step is
            proportional to its square.
        dropout: rate of a Dropout after each of the 8 ReLUs (seed document 001); 0 omits the layers.
        head_bias: whether the linear head has a bias (seed document 000): 6,573,130 parameters.
        whitening: the first convolution is computed from the training images and fixed, followed by a 1x1 convolution
            (Page 2019, "How to train your ResNet", part 8): 6,573,849 parameters, 729 of them fixed.
        head_scale: factor on the logits (Page: 0.125); 1 omits the layer.
        image_size: pixels, at least 8. The last max pool covers the whole remaining map (32 pixels → 4x4).

    Raises:
        ModelError: a value is out of its range.
    """
    require_shapes(in_channels, image_size, classes, smallest_image=8)
    require(width >= 1, "width", "be 1 or more", width)
    require(head_scale > 0, "head_scale", "be above 0", head_scale)
    scale = {"scale": Scale(head_scale)} if head_scale != 1 else {}
    return nn.Sequential(
        OrderedDict(
            prep=_block(in_channels, width, dropout, whitening=whitening),
            layer1=_block(width, 2 * width, dropout, pool=True),
            residual1=Residual(
                nn.Sequential(_block(2 * width, 2 * width, dropout), _block(2 * width, 2 * width, dropout))
            ),
            layer2=_block(2 * width, 4 * width, dropout, pool=True),
            layer3=_block(4 * width, 8 * width, dropout, pool=True),
            residual2=Residual(
                nn.Sequential(_block(8 * width, 8 * width, dropout), _block(8 * width, 8 * width, dropout))
            ),
            pool=nn.MaxPool2d(image_size // 8),
            flatten=nn.Flatten(),
            head=nn.Linear(8 * width, classes, bias=head_bias),
            **scale,
        )
    )


def _block(
    in_channels: int, out_channels: int, dropout: float, pool: bool = False, whitening: bool = False
) -> nn.Sequential:
    """(B, in, S, S) → (B, out, S, S), or (B, out, S // 2, S // 2) with a pool."""
    convolutions = [conv3x3(in_channels, out_channels)]
    if whitening:
        fixed = Whitening(in_channels)
        convolutions = [fixed, nn.Conv2d(fixed.out_channels, out_channels, 1, bias=False)]
    halve = [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(*convolutions, *halve, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True), *dropouts(dropout))
