"""Adapt networks designed for images of 224 pixels to small images, and to another number of channels.

The rule for images of at most SMALL pixels: a first convolution that is strided and overlaps (its kernel is larger than
its stride) becomes 3x3 with stride 1, and a max pool that follows it, without another strided convolution in between,
is removed. ResNet, DenseNet, EfficientNet, MobileNet, RegNet and similar networks thus keep the resolution that their
first layers would reduce, as He et al. 2015 (arXiv:1512.03385, section 4.2) do on CIFAR-10. A patch embedding (ViT,
Swin, ConvNeXt), whose kernel equals its stride, is kept, and so is a first convolution with stride 1 (VGG).

Layers are considered in the order of their definition. A changed convolution is initialised by torch's default.
"""

import torch
from torch import nn

from models.registry import ModelError

SMALL = 64


def fit_channels(network: nn.Module, in_channels: int, name: str) -> None:
    """Change the first convolution's number of input channels, in place.

    Raises:
        ModelError: the network has no convolution.
    """
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.groups != 1:
        raise ModelError(f"`model.name`: {name} has no first convolution that could take {in_channels} channels")
    if first.in_channels != in_channels:
        first.in_channels = in_channels
        _redraw(first)


def fit_stem(network: nn.Module, image_size: int) -> None:
    """Apply the rule above, in place."""
    layers = [
        (name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.MaxPool2d)
    ]
    if image_size > SMALL or not layers or not isinstance(first := layers[0][1], nn.Conv2d):
        return
    if first.stride[0] == 1 or first.kernel_size[0] <= first.stride[0]:
        return
    redraw = first.kernel_size != (3, 3)
    first.kernel_size, first.stride, first.padding = (3, 3), (1, 1), (1, 1)
    if redraw:
        _redraw(first)
    for name, module in layers[1:]:
        if isinstance(module, nn.MaxPool2d):
            network.set_submodule(name, nn.Identity())
            return
        if module.stride != (1, 1):
            return


def _redraw(layer: nn.Conv2d) -> None:
    shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    layer.weight = nn.Parameter(torch.empty(shape, dtype=layer.weight.dtype, device=layer.weight.device))
    layer.reset_parameters()
