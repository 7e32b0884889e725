"""Networks by name: images (B, in_channels, image_size, image_size) → logits (B, classes).

Importing this package imports every file in it, which registers its networks. It depends only on torch (torchvision and
timm are imported when one of their networks is requested) and not on data or training.
"""

from models.families import BROKEN, import_all
from models.layers import fit_to
from models.lookup import build, builder, check, names, options
from models.registry import ModelError, register
from models.summary import LayerSummary, ModelSummary, format_summary, summarize

__all__ = [
    "BROKEN",
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

import_all()
