"""Networks by name: images (B, in_channels, image_size, image_size) → logits (B, classes).

Importing this package registers every family. It needs torch only and knows nothing of data or training.
"""

from models import mnist_cnn, norm_cnn, resnet  # noqa: F401 — importing a family registers it
from models.layers import fit_to
from models.registry import ModelError, build, builder, check, names, options, register
from models.summary import LayerSummary, ModelSummary, format_summary, summarize

__all__ = [
    "LayerSummary",
    "ModelError",
    "ModelSummary",
    "build",
    "builder",
    "check",
    "fit_to",
    "format_summary",
    "names",
    "options",
    "register",
    "summarize",
]
