"""Which part of the augmentation of seed document 003 improves accuracy? Each variant adds one transform.

Expected: crop and flip add a point or more each, cutout less.
Command: make run EXP=augmentation_ablation. Cost: about 2.3 hours per run on one CPU core with bf16, 28 runs.
"""

from experiments.resnet_onecycle import CROP, CUTOUT, FLIP, PAD, RECIPE
from harness import Experiment

EXPERIMENT = Experiment(
    name="augmentation_ablation",
    question="How much accuracy does each part of the augmentation add: crop, flip, cutout?",
    base=RECIPE,
    variants={
        "none": {"augmentation": ()},
        "crop": {"augmentation": (PAD, CROP)},
        "crop_flip": {"augmentation": (PAD, CROP, FLIP)},
        "crop_flip_cutout": {"augmentation": (PAD, CROP, FLIP, CUTOUT)},
    },
    factor=("augmentation",),
    baseline="none",
    seeds=(0, 1, 2, 3, 4, 5, 6),
    smallest_difference_points=0.2,
)
