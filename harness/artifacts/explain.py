"""Grad-CAM (Selvaraju et al. 2017) with captum, for images that a network misclassifies.

A heat map shows which positions of the last feature map raised a class's logit. It is coarse, and no proof of a cause.
"""

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.artifacts.weights import Trained
from harness.augmentation.normaliser import Normaliser
from harness.values import HarnessError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 16
_OPACITY = 0.5


def require() -> None:
    """Check that captum is installed, before anything is loaded.

    Raises:
        HarnessError: it is not; the message names the extra to install.
    """
    if importlib.util.find_spec("captum") is None:
        raise HarnessError("explain needs captum: pip install captum (extra `explain`)")


def last_map(network: nn.Module, inputs: torch.Tensor) -> nn.Module:
    """The last convolution whose output has more than one spatial position.

    Args:
        inputs: normalised images, shape (N, C, H, W).

    Raises:
        HarnessError: the network has no such convolution.
    """
    found: list[nn.Module] = []

    def note(module: nn.Module, _: object, output: torch.Tensor) -> None:
        if output.shape[-1] > 1:
            found.append(module)

    hooks = [module.register_forward_hook(note) for module in network.modules() if isinstance(module, nn.Conv2d)]
    try:
        with torch.no_grad():
            network(inputs[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise HarnessError("explain needs a convolution with a spatial output larger than 1x1; this network has none")
    return found[-1]


def heat_maps(trained: Trained, images: NDArray[np.uint8], classes: Sequence[int]) -> NDArray[np.float32]:
    """Grad-CAM heat maps.

    Args:
        images: shape (N, H, W, C), uint8.
        classes: for each image, the index of the class whose logit is explained.

    Returns:
        Heat maps, shape (N, H, W), from 0 to 1.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    inputs = Normaliser.make(trained.mean, trained.std, "cpu", "contiguous", "fp32")(torch.from_numpy(images.copy()))
    network = trained.network.eval()
    attribution = LayerGradCam(network, last_map(network, inputs))
    maps = attribution.attribute(inputs, target=torch.tensor(list(classes)), relu_attributions=True)
    assert isinstance(maps, torch.Tensor)
    grown = LayerAttribution.interpolate(maps, images.shape[1:3], "bilinear").detach()[:, 0]
    return (grown / grown.flatten(1).max(1).values.clamp(min=1e-12)[:, None, None]).numpy()


def figure(
    images: NDArray[np.uint8],
    predicted: NDArray[np.float32],
    true: NDArray[np.float32],
    names: Sequence[tuple[str, str, float]],
) -> "Figure":
    """Draw three panels per image: the image, and its heat maps for the predicted and for the true class.

    Args:
        images: shape (N, H, W, C).
        predicted, true: heat maps, shape (N, H, W).
        names: for each image its true and its predicted class, and the confidence (0..1) of the latter.
    """
    from harness.artifacts import figures

    plain = (np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images).astype(np.float32) / 255
    shown, titles = list[NDArray[np.float32]](), list[str]()
    for image, wrong, right, (label, guess, sure) in zip(plain, predicted, true, names, strict=True):
        shown += [image, _over(image, wrong), _over(image, right)]
        titles += [label, f"for {guess}, {sure:.0%}", f"for {label}"]
    title = "Wrong, most confident first: the image, evidence for the predicted class, and for the true class"
    return figures.grid(np.stack(shown), titles, title, 6)


def _over(image: NDArray[np.float32], heat: NDArray[np.float32]) -> NDArray[np.float32]:
    from matplotlib import colormaps

    coloured = np.asarray(colormaps["inferno"](heat)[..., :3], dtype=np.float32)
    return ((1 - _OPACITY) * image + _OPACITY * coloured).astype(np.float32)
