"""`mnist_cnn`: the network of seed document 004 for 28x28 grey images: 593,200 parameters, receptive field 28 pixels.

The document's network ends with log_softmax; here it returns logits, and the loss includes the softmax.
"""

from collections import OrderedDict

from torch import nn

from models.registry import register, require_shapes


@register
def mnist_cnn(in_channels: int = 1, image_size: int = 28, classes: int = 10) -> nn.Module:
    """Images (B, in_channels, image_size, image_size) → logits (B, classes).

    Args:
        image_size: pixels, at least 16. It decides the size of the first linear layer (28 → 256 maps of 4x4 → 4096).

    Raises:
        ModelError: a value is out of its range.
    """
    require_shapes(in_channels, image_size, classes, smallest_image=16)
    last_map = ((image_size - 4) // 2 - 4) // 2
    return nn.Sequential(
        OrderedDict(
            block1=_block(in_channels, 32, 64),
            block2=_block(64, 128, 256),
            flatten=nn.Flatten(),
            hidden=nn.Linear(256 * last_map**2, 50),
            relu=nn.ReLU(inplace=True),
            head=nn.Linear(50, classes),
        )
    )


def _block(in_channels: int, middle: int, out_channels: int) -> nn.Sequential:
    """(B, in, S, S) → (B, out, (S - 4) // 2, (S - 4) // 2); the ReLU follows the pool, as in the seed document."""
    first, second = nn.Conv2d(in_channels, middle, 3), nn.Conv2d(middle, out_channels, 3)
    return nn.Sequential(first, nn.ReLU(inplace=True), second, nn.MaxPool2d(2), nn.ReLU(inplace=True))
