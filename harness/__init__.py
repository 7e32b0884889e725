"""The harness: one trainer and what it needs. Experiment files take their values from here."""

from harness.plans.hyperparameters import SGD, Adam, AdamW, Constant, Cosine, LRFinder, OneCycle, Step
from harness.plans.spec import Circumstances, Data, Experiment, Model, Published, Recipe, RunSpec, Transform
from harness.plans.tuning import Choice, LogUniform, Tuning, Uniform
from harness.values import SpecError

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Choice",
    "Circumstances",
    "Constant",
    "Cosine",
    "Data",
    "Experiment",
    "LRFinder",
    "LogUniform",
    "Model",
    "OneCycle",
    "Published",
    "Recipe",
    "RunSpec",
    "SpecError",
    "Step",
    "Transform",
    "Tuning",
    "Uniform",
]
