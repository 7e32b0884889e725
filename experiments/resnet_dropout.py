"""Does dropout improve the custom ResNet? Seed document 001 has eight Dropout modules, but with a rate of 0.

Expected: little effect at 24 epochs with cutout, perhaps harm at 0.1.
Command: make run EXP=resnet_dropout. Cost: about 2.3 hours per run on one CPU core with bf16, 21 runs.
"""

from experiments.resnet_onecycle import RECIPE
from harness import Experiment, Published

EXPERIMENT = Experiment(
    name="resnet_dropout",
    question="Does dropout after every ReLU improve the custom ResNet?",
    base=RECIPE,
    variants={"none": {}, "dropout_05": {"model.dropout": 0.05}, "dropout_10": {"model.dropout": 0.1}},
    factor=("model.dropout",),
    baseline="none",
    seeds=(0, 1, 2, 3, 4, 5, 6),
    smallest_difference_points=0.2,
    published=(
        Published(
            variant="none",
            test_accuracy_percent=92.72,
            train_accuracy_percent=98.01,
            source="seed document 001 (best epoch of one run, chosen on test images; its rate was 0)",
        ),
    ),
)
