"""Does the suggestion of an LR range test depend on its starting rate, and is it better than a fixed rate?

The seed documents did not pass start_lr, so their tests began at the optimiser's rate of 0.03 and suggested 0.045 to
0.06; from 1e-7 the same tool suggests about 5e-4. Expected: the late start suggests a rate that trains worse.
Command: make run EXP=lr_finder_start. Cost: about 2.3 hours per run on one CPU core with bf16, 28 runs.
"""

from experiments.resnet_onecycle import RECIPE
from harness import Experiment

EXPERIMENT = Experiment(
    name="lr_finder_start",
    question="Does an LR range test beat a fixed peak rate of 0.01, and does its start decide what it finds?",
    base=RECIPE,
    variants={
        "fixed": {"optimizer.lr": 0.01, "lr_finder": None},
        "from_1e7": {"lr_finder.suggestion": "steepest", "lr_finder.start_lr": 1e-7},
        "from_1e4": {"lr_finder.suggestion": "steepest", "lr_finder.start_lr": 1e-4},
        "from_3e2": {"lr_finder.suggestion": "steepest", "lr_finder.start_lr": 3e-2},
    },
    factor=("optimizer.lr", "lr_finder"),
    baseline="fixed",
    seeds=(0, 1, 2, 3, 4, 5, 6),
    smallest_difference_points=0.2,
)
