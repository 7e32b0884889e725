"""Save an exported network as an MLflow model for `mlflow.pyfunc`, as code and a .pt2 file, without pickling."""

import importlib.metadata
import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.tracking import store
from harness.tracking.tracker import failing_in_one_line

CODE = Path(__file__).with_name("served.py")


@failing_in_one_line()
def save_pyfunc(folder: Path, network: Path, classes: Sequence[str], shape: tuple[int, int, int]) -> None:
    """Write an MLflow model folder, replacing an existing one.

    Args:
        network: the .pt2 file written by `harness.artifacts.export`.
        shape: height, width and channels of an image.
    """
    store.settle()
    shutil.rmtree(folder, ignore_errors=True)
    names = network.with_name("classes.json")
    names.write_text(json.dumps(list(classes)))
    with warnings.catch_warnings(record=True):  # MLflow warns about annotations and examples on import
        warnings.simplefilter("always")
        _save(folder, {"network": str(network), "classes": str(names)}, shape)
    names.unlink()


def _save(folder: Path, files: dict[str, str], shape: tuple[int, int, int]) -> None:
    import mlflow.pyfunc
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    inputs = Schema([TensorSpec(np.dtype(np.uint8), (-1, *shape), "images")])
    outputs = Schema([ColSpec(DataType.string, "predicted"), ColSpec(DataType.double, "confidence")])
    mlflow.pyfunc.save_model(
        folder,
        python_model=str(CODE),
        artifacts=files,
        signature=ModelSignature(inputs, outputs),
        pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in ("mlflow", "torch", "numpy")],
    )
