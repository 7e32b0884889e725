"""The code that MLflow runs to serve an exported network. It is copied into the model's folder and needs only torch."""

import json
from pathlib import Path
from typing import Any

import mlflow.models
import numpy as np
import pandas as pd
import torch
from mlflow.pyfunc.model import PythonModel


class Classifier(PythonModel):
    """Classifies images (N, H, W, C), uint8; returns a row per image with the predicted class and its probability."""

    def load_context(self, context: Any) -> None:
        self.network = torch.export.load(context.artifacts["network"]).module()
        self.classes = json.loads(Path(context.artifacts["classes"]).read_text())

    # no annotations, because MLflow would interpret them as a schema
    def predict(self, context, model_input, params=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        images = model_input["images"] if isinstance(model_input, dict) else model_input
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(np.array(images, dtype=np.uint8)))
        confidence, at = logits.double().softmax(1).max(1)
        names = [self.classes[each] for each in at.tolist()]
        return pd.DataFrame({"predicted": names, "confidence": confidence.numpy()})


mlflow.models.set_model(Classifier())
