"""Export trained networks as ONNX, torch.export and safetensors files, none of which runs code when loaded.

Exported networks take decoded images, shape (N, H, W, C), uint8. Normalisation and, if the recipe has it, test-time
flipping are part of the graph; only resizing is left to the caller.
"""

import importlib.util
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.artifacts.weights import Trained
from harness.values import HarnessError

TOLERANCE = 1e-4
"""Largest allowed difference between a logit of an exported network and torch's."""
NEEDED = ("onnx", "onnxscript", "onnxruntime")
_CHECKED = 5
"""Number of images used for the check; not the batch size used for the export, since the batch size is dynamic."""


class Deployed(nn.Module):
    """A network with its normalisation: images (N, H, W, C), uint8 → logits (N, classes), float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, trained: Trained):
        super().__init__()
        self.network, self.flip = trained.network.eval(), trained.flip
        self.register_buffer("mean", torch.tensor(trained.mean))
        self.register_buffer("std", torch.tensor(trained.std))

    def forward(self, images: Tensor) -> Tensor:
        inputs = ((images.float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2).contiguous()
        logits = self.network(inputs)
        return (logits + self.network(inputs.flip(-1))) / 2 if self.flip else logits


@dataclass(frozen=True)
class Exported:
    """An exported file and the largest difference of its logits from torch's; None for the copied weights."""

    file: Path
    difference: float | None


def require() -> None:
    """Check that the packages for exporting are installed, before anything is loaded.

    Raises:
        HarnessError: one is missing; the message names the extra to install.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise HarnessError(f"export needs {', '.join(missing)}: pip install {' '.join(missing)} (extra `export`)")


def export(trained: Trained, weights: Path, shape: tuple[int, int, int], folder: Path) -> list[Exported]:
    """Write `weights.safetensors`, `model.pt2` and `model.onnx` into an existing folder, and check them.

    Args:
        weights: the file from which `trained` was loaded.
        shape: height, width and channels of an image.

    Raises:
        HarnessError: the logits of an exported file differ from torch's by more than TOLERANCE.
    """
    network = Deployed(trained).eval()
    images = np.random.default_rng(0).integers(0, 256, (_CHECKED, *shape), dtype=np.uint8)
    expected = trained.logits(images)
    shutil.copy2(weights, folder / "weights.safetensors")
    with _quiet():
        program = torch.export.export(
            network, (torch.from_numpy(images[:2]),), dynamic_shapes=({0: torch.export.Dim("images", min=1)},)
        )
        torch.export.save(program, folder / "model.pt2")
        torch.onnx.export(
            program,
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        ).save(folder / "model.onnx")  # pyright: ignore[reportOptionalMemberAccess] None only without dynamo
    made = [
        Exported(folder / "model.pt2", _difference(run_pt2(folder / "model.pt2", images), expected)),
        Exported(folder / "model.onnx", _difference(run_onnx(folder / "model.onnx", images), expected)),
    ]
    for each in made:
        assert each.difference is not None
        if not each.difference <= TOLERANCE:
            raise HarnessError(
                f"{each.file.name} differs from the network by {each.difference:.2g} in a logit, and {TOLERANCE:g} is "
                "allowed: do not use it; report the model"
            )
    return [Exported(folder / "weights.safetensors", None), *made]


def run_pt2(file: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits of a torch.export file: images (N, H, W, C) → (N, classes)."""
    with torch.inference_mode(), _quiet():
        return torch.export.load(file).module()(torch.from_numpy(images)).numpy()


def run_onnx(file: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits of an ONNX file by onnxruntime on the CPU: images (N, H, W, C) → (N, classes)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images})
    return np.asarray(logits)


def _difference(logits: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    assert logits.shape == expected.shape, f"{logits.shape} and {expected.shape}"
    return float(np.abs(logits - expected).max())


@contextmanager
def _quiet() -> Iterator[None]:
    """Context that suppresses the exporters' messages for their own developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
